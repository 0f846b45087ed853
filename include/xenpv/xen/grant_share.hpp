// Pages of our own granted to another domain (libxengnttab's gntshr half, /dev/xen/gntalloc).
//
// The pages come from the kernel, zeroed; memory of our own cannot be granted. They count against a
// limit that all processes of the guest share (1024 pages unless raised). There is no revoking:
// pages are granted from share() until the object dies, and a peer that still maps them keeps the
// memory, not us.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "xenpv/base/types.hpp"

struct xengntdev_handle;

namespace xenpv::xen {

/// What happens when the sharer goes away (unshare or death): clear a byte, send an event, or both.
struct release_notice {
  std::optional<std::uint32_t> clear_offset;  ///< byte offset within the page to set to 0
  std::optional<port> event;                  ///< port of this process to notify
};

/// Granted pages, contiguous in our address space; move-only. Thread: any, one at a time.
class granted_pages {
 public:
  granted_pages() noexcept = default;
  granted_pages(granted_pages&& other) noexcept;
  granted_pages& operator=(granted_pages&& other) noexcept;
  ~granted_pages();

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  /// One reference per page, in page order. The numbers themselves come in no order.
  [[nodiscard]] std::span<const grant_ref> refs() const noexcept { return refs_; }
  [[nodiscard]] explicit operator bool() const noexcept { return !bytes_.empty(); }

 private:
  friend class grant_sharer;
  granted_pages(std::shared_ptr<xengntdev_handle> handle, std::span<std::byte> bytes,
                std::vector<grant_ref> refs) noexcept;
  void unshare() noexcept;

  std::shared_ptr<xengntdev_handle> handle_;
  std::span<std::byte> bytes_;
  std::vector<grant_ref> refs_;
};

/// The open device. Pages outlive it.
class grant_sharer {
 public:
  /// Throws `failure` with the module to load when /dev/xen/gntalloc is absent.
  [[nodiscard]] static grant_sharer open();

  /// Shares `count` fresh zeroed pages with `with`. Throws `failure`; when the limit is reached the
  /// message names it ("share 353 pages with domain 0: no space left on device (limit 1024 in
  /// ...)").
  [[nodiscard]] granted_pages share(domid with, std::size_t count, bool writable);
  /// One page, with `notice` carried out by the kernel when the page is released.
  [[nodiscard]] granted_pages share_page(domid with, bool writable, const release_notice& notice);

 private:
  explicit grant_sharer(std::shared_ptr<xengntdev_handle> handle) noexcept;
  std::shared_ptr<xengntdev_handle> handle_;
};

}  // namespace xenpv::xen
