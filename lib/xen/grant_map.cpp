#include "xenpv/xen/grant_map.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "xen/cure.hpp"
#include "xen/gnttab_library.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::xen {
namespace {

int protection(map_access access) noexcept {
  return access == map_access::read_write ? PROT_READ | PROT_WRITE : PROT_READ;
}

std::string status_name(std::int16_t status) {
  constexpr std::array<std::string_view, 14> names = {
      "GNTST_okay",         "GNTST_general_error",   "GNTST_bad_domain",
      "GNTST_bad_gntref",   "GNTST_bad_handle",      "GNTST_bad_virt_addr",
      "GNTST_bad_dev_addr", "GNTST_no_device_space", "GNTST_permission_denied",
      "GNTST_bad_page",     "GNTST_bad_copy_arg",    "GNTST_address_too_big",
      "GNTST_eagain",       "GNTST_no_space"};
  const auto index = static_cast<std::size_t>(-status);
  return status <= 0 && index < names.size() ? std::string(names[index])
                                             : fmt::format("status {}", status);
}

std::string describe(const copy_segment& segment, bool to_foreign) {
  return fmt::format("copy {} bytes {} offset {} of grant {} of domain {}", segment.local.size(),
                     to_foreign ? "to" : "from", segment.offset, segment.ref, segment.foreign);
}

xengnttab_grant_copy_segment_t to_c_segment(const copy_segment& segment, bool to_foreign) {
  xengnttab_grant_copy_segment_t out{};
  auto& foreign = to_foreign ? out.dest : out.source;
  auto& local = to_foreign ? out.source : out.dest;
  local.virt = segment.local.data();
  foreign.foreign.ref = raw(segment.ref);
  foreign.foreign.offset = segment.offset;
  foreign.foreign.domid = raw(segment.foreign);
  out.len = static_cast<std::uint16_t>(segment.local.size());
  out.flags = to_foreign ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
  return out;
}

}  // namespace

mapped_grants::mapped_grants(std::shared_ptr<xengntdev_handle> handle,
                             std::span<std::byte> bytes) noexcept
    : handle_(std::move(handle)), bytes_(bytes) {}

mapped_grants::mapped_grants(mapped_grants&& other) noexcept
    : handle_(std::move(other.handle_)), bytes_(std::exchange(other.bytes_, {})) {}

mapped_grants& mapped_grants::operator=(mapped_grants&& other) noexcept {
  if (this != &other) {
    unmap();
    handle_ = std::move(other.handle_);
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

mapped_grants::~mapped_grants() {
  unmap();
}

void mapped_grants::unmap() noexcept {
  if (bytes_.empty()) return;
  const auto pages = static_cast<std::uint32_t>(bytes_.size() / page_size);
  if (xengnttab_unmap(handle_.get(), bytes_.data(), pages) != 0)
    log().warn("unmap {} foreign pages: {}", pages, describe_errno(errno));
  bytes_ = {};
}

grant_mapper::grant_mapper(std::shared_ptr<xengntdev_handle> handle) noexcept
    : handle_(std::move(handle)) {}

grant_mapper grant_mapper::open() {
  std::shared_ptr<xengntdev_handle> handle(xengnttab_open(gnttab_logger(), 0), [](auto* opened) {
    if (opened != nullptr) xengnttab_close(opened);
  });
  if (!handle) throw_open_failed("/dev/xen/gntdev", errno);
  return grant_mapper(std::move(handle));
}

mapped_grants grant_mapper::map(domid domain, std::span<const grant_ref> refs, map_access access) {
  const auto operation =
      fmt::format("map {} page{} of domain {}", refs.size(), refs.size() == 1 ? "" : "s", domain);
  if (refs.empty() || refs.size() > std::numeric_limits<std::uint32_t>::max() / page_size)
    throw failure(errc::invalid_argument, operation);
  std::vector<std::uint32_t> numbers;
  numbers.reserve(refs.size());
  for (const auto ref : refs)
    numbers.push_back(raw(ref));
  void* start =
      xengnttab_map_domain_grant_refs(handle_.get(), static_cast<std::uint32_t>(numbers.size()),
                                      raw(domain), numbers.data(), protection(access));
  if (start == nullptr) throw_failed(attempt::map_grants, errno, operation);
  return {handle_, {static_cast<std::byte*>(start), refs.size() * page_size}};
}

mapped_grants grant_mapper::map_page(domid domain, grant_ref ref, map_access access,
                                     const release_notice& notice) {
  const auto operation = fmt::format("map grant {} of domain {}", ref, domain);
  if (notice.clear_offset && *notice.clear_offset >= page_size)
    throw failure(errc::invalid_argument, operation,
                  fmt::format("offset {} is outside the page", *notice.clear_offset));
  void* start = xengnttab_map_grant_ref_notify(
      handle_.get(), raw(domain), raw(ref), protection(access),
      notice.clear_offset.value_or(no_notice), notice.event ? raw(*notice.event) : no_notice);
  if (start == nullptr) throw_failed(attempt::map_grants, errno, operation);
  return {handle_, {static_cast<std::byte*>(start), page_size}};
}

void grant_mapper::copy_from(std::span<copy_segment> segments) {
  copy(segments, false);
}

void grant_mapper::copy_to(std::span<copy_segment> segments) {
  copy(segments, true);
}

void grant_mapper::copy(std::span<copy_segment> segments, bool to_foreign) {
  if (segments.empty()) return;
  std::vector<xengnttab_grant_copy_segment_t> operations;
  operations.reserve(segments.size());
  for (const auto& segment : segments) {
    if (segment.offset > page_size || segment.local.size() > page_size - segment.offset)
      throw failure(errc::invalid_argument, describe(segment, to_foreign),
                    "it crosses a page boundary");
    operations.push_back(to_c_segment(segment, to_foreign));
  }
  if (xengnttab_grant_copy(handle_.get(), static_cast<std::uint32_t>(operations.size()),
                           operations.data()) != 0)
    throw_errno(fmt::format("grant copy of {} segments", segments.size()));

  const copy_segment* failed = nullptr;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    segments[i].status = operations[i].status;
    if (segments[i].status != GNTST_okay && failed == nullptr) failed = &segments[i];
  }
  if (failed != nullptr)
    throw failure(errc::protocol_violation, describe(*failed, to_foreign),
                  status_name(failed->status));
}

}  // namespace xenpv::xen
