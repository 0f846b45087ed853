#include "xenpv/xen/grant_share.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "xen/cure.hpp"
#include "xen/gnttab_library.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::xen {
namespace {

constexpr std::string_view device_path = "/dev/xen/gntalloc";

std::vector<grant_ref> as_grant_refs(const std::vector<std::uint32_t>& numbers) {
  std::vector<grant_ref> refs;
  refs.reserve(numbers.size());
  for (const auto number : numbers)
    refs.push_back(grant_ref{number});
  return refs;
}

}  // namespace

granted_pages::granted_pages(std::shared_ptr<xengntdev_handle> handle, std::span<std::byte> bytes,
                             std::vector<grant_ref> refs) noexcept
    : handle_(std::move(handle)), bytes_(bytes), refs_(std::move(refs)) {}

granted_pages::granted_pages(granted_pages&& other) noexcept
    : handle_(std::move(other.handle_)),
      bytes_(std::exchange(other.bytes_, {})),
      refs_(std::exchange(other.refs_, {})) {}

granted_pages& granted_pages::operator=(granted_pages&& other) noexcept {
  if (this != &other) {
    unshare();
    handle_ = std::move(other.handle_);
    bytes_ = std::exchange(other.bytes_, {});
    refs_ = std::exchange(other.refs_, {});
  }
  return *this;
}

granted_pages::~granted_pages() {
  unshare();
}

void granted_pages::unshare() noexcept {
  if (bytes_.empty()) return;
  xengntshr_unshare(handle_.get(), bytes_.data(), static_cast<std::uint32_t>(refs_.size()));
  bytes_ = {};
}

grant_sharer::grant_sharer(std::shared_ptr<xengntdev_handle> handle) noexcept
    : handle_(std::move(handle)) {}

grant_sharer grant_sharer::open() {
  std::shared_ptr<xengntdev_handle> handle(xengntshr_open(gnttab_logger(), 0), [](auto* opened) {
    if (opened != nullptr) xengntshr_close(opened);
  });
  if (!handle) throw_open_failed(device_path, errno);
  // The Xen libraries open the other devices, but not this one, with O_CLOEXEC.
  if (::fcntl(xengntshr_fd(handle.get()), F_SETFD, FD_CLOEXEC) < 0)
    throw_errno(fmt::format("set close-on-exec on {}", device_path));
  return grant_sharer(std::move(handle));
}

granted_pages grant_sharer::share(domid domain, std::size_t count, bool writable) {
  const auto operation =
      fmt::format("share {} page{} with domain {}", count, count == 1 ? "" : "s", domain);
  if (count == 0 || count > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    throw failure(errc::invalid_argument, operation);
  std::vector<std::uint32_t> numbers(count);
  void* start = xengntshr_share_pages(handle_.get(), raw(domain), static_cast<int>(count),
                                      numbers.data(), writable ? 1 : 0);
  if (start == nullptr) throw_failed(attempt::share_pages, errno, operation);
  return {handle_, {static_cast<std::byte*>(start), count * page_size}, as_grant_refs(numbers)};
}

granted_pages grant_sharer::share_page(domid domain, bool writable, const release_notice& notice) {
  const auto operation = fmt::format("share a page with domain {}", domain);
  if (notice.clear_offset && *notice.clear_offset >= page_size)
    throw failure(errc::invalid_argument, operation,
                  fmt::format("offset {} is outside the page", *notice.clear_offset));
  std::vector<std::uint32_t> numbers(1);
  void* start = xengntshr_share_page_notify(
      handle_.get(), raw(domain), numbers.data(), writable ? 1 : 0,
      notice.clear_offset.value_or(no_notice), notice.event ? raw(*notice.event) : no_notice);
  if (start == nullptr) throw_failed(attempt::share_pages, errno, operation);
  return {handle_, {static_cast<std::byte*>(start), page_size}, as_grant_refs(numbers)};
}

}  // namespace xenpv::xen
