// Owning wrappers for libxengnttab resources: handles, shared pages, mapped pages. Without a
// logger, the library logs failures to stderr, including failures that a case expects.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "contract/c_libraries.hpp"
#include "contract/environment.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::contract {

/// Values with which the library's notify arguments mean "none".
inline constexpr std::uint32_t no_offset = ~std::uint32_t{0};
inline constexpr evtchn_port_t no_port = ~evtchn_port_t{0};
/// Far above the grant references that a Linux guest uses.
inline constexpr std::uint32_t unused_ref = 30'000;

/// Checks that all bytes equal `value`. gmock's Each() would take a quarter of a second for a
/// ring's pages.
[[nodiscard]] inline testing::AssertionResult all_are(std::span<const unsigned char> bytes,
                                                      unsigned char value) {
  const auto odd =
      std::find_if(bytes.begin(), bytes.end(), [=](auto byte) { return byte != value; });
  if (odd == bytes.end()) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "byte " << odd - bytes.begin() << " is " << int{*odd} << ", not " << int{value};
}

struct sharer_closer {
  void operator()(xengntshr_handle* handle) const { xengntshr_close(handle); }
};
struct mapper_closer {
  void operator()(xengnttab_handle* handle) const { xengnttab_close(handle); }
};
using sharer = std::unique_ptr<xengntshr_handle, sharer_closer>;
using mapper = std::unique_ptr<xengnttab_handle, mapper_closer>;

[[nodiscard]] inline sharer open_sharer() {
  sharer handle(xengntshr_open(nullptr, 0));
  if (!handle)
    throw std::system_error(errno, std::generic_category(),
                            "xengntshr_open (modprobe xen-gntalloc?)");
  return handle;
}

[[nodiscard]] inline mapper open_mapper() {
  mapper handle(xengnttab_open(nullptr, 0));
  if (!handle)
    throw std::system_error(errno, std::generic_category(),
                            "xengnttab_open (modprobe xen-gntdev?)");
  return handle;
}

/// Pages shared through a handle that outlives them. If sharing failed, the object is empty and
/// errno is set.
class shared_pages {
 public:
  shared_pages() = default;
  shared_pages(const sharer& handle, std::uint32_t domain, std::size_t count, bool writable = true)
      : handle_(handle.get()), refs_(count) {
    memory_ =
        xengntshr_share_pages(handle_, domain, static_cast<int>(count), refs_.data(), writable);
  }
  [[nodiscard]] static shared_pages with_notice(const sharer& handle, std::uint32_t domain,
                                                std::uint32_t offset, evtchn_port_t port) {
    shared_pages pages;
    pages.handle_ = handle.get();
    pages.refs_.resize(1);
    pages.memory_ =
        xengntshr_share_page_notify(handle.get(), domain, pages.refs_.data(), 1, offset, port);
    return pages;
  }
  shared_pages(shared_pages&& other) noexcept
      : handle_(other.handle_),
        memory_(std::exchange(other.memory_, nullptr)),
        refs_(std::move(other.refs_)) {}
  shared_pages& operator=(shared_pages&&) = delete;
  ~shared_pages() {
    if (memory_) static_cast<void>(unshare());
  }

  [[nodiscard]] explicit operator bool() const { return memory_ != nullptr; }
  [[nodiscard]] std::span<unsigned char> bytes() const {
    return {static_cast<unsigned char*>(memory_), refs_.size() * page_size};
  }
  [[nodiscard]] const std::vector<std::uint32_t>& refs() const { return refs_; }

  [[nodiscard]] outcome unshare() { return unshare_through(handle_); }
  [[nodiscard]] outcome unshare_through(xengntshr_handle* handle) {
    void* memory = std::exchange(memory_, nullptr);
    return attempt([&] {
      return xengntshr_unshare(handle, memory, static_cast<std::uint32_t>(refs_.size()));
    });
  }

 private:
  xengntshr_handle* handle_ = nullptr;
  void* memory_ = nullptr;
  std::vector<std::uint32_t> refs_;
};

/// Another domain's pages, mapped in the order of `refs`. If mapping failed, the object is empty
/// and errno is set.
class mapped_pages {
 public:
  mapped_pages(const mapper& handle, std::uint32_t domain, std::vector<std::uint32_t> refs,
               int protection = PROT_READ | PROT_WRITE)
      : handle_(handle.get()), count_(static_cast<std::uint32_t>(refs.size())) {
    errno = 0;
    memory_ = xengnttab_map_domain_grant_refs(handle_, count_, domain, refs.data(), protection);
  }
  mapped_pages(const mapped_pages&) = delete;
  mapped_pages& operator=(const mapped_pages&) = delete;
  ~mapped_pages() {
    if (memory_) static_cast<void>(unmap());
  }

  [[nodiscard]] explicit operator bool() const { return memory_ != nullptr; }
  [[nodiscard]] std::span<unsigned char> bytes() const {
    return {static_cast<unsigned char*>(memory_), count_ * page_size};
  }
  [[nodiscard]] outcome unmap() {
    return attempt([&] { return xengnttab_unmap(handle_, release(), count_); });
  }
  /// Transfers the mapping to the caller, who must unmap it.
  [[nodiscard]] void* release() { return std::exchange(memory_, nullptr); }

 private:
  xengnttab_handle* handle_;
  void* memory_ = nullptr;
  std::uint32_t count_;
};

}  // namespace xenpv::contract
