// Pages of this domain that are granted to another domain (gntshr interface of libxengnttab,
// /dev/xen/gntalloc).
//
// The kernel allocates zeroed pages; existing memory cannot be granted. The pages count against a
// limit (1024 pages by default) that all processes of the guest share. Grants cannot be revoked
// early: pages stay granted from share() until the object is destroyed. If the peer still maps the
// pages at that time, the peer keeps the memory; this process does not.
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

/// The kernel's action when a page is released (unshared, unmapped, or the process dies): clear a
/// byte, send an event, or both.
struct release_notice {
  std::optional<std::uint32_t> clear_offset;  ///< byte offset within the page to set to 0
  std::optional<port> event;                  ///< port of this process to notify
};

/// Granted pages, mapped at contiguous addresses in this process; move-only. Used by one thread at
/// a time.
class granted_pages {
 public:
  granted_pages() noexcept = default;
  granted_pages(granted_pages&& other) noexcept;
  granted_pages& operator=(granted_pages&& other) noexcept;
  ~granted_pages();

  /// The memory: page_size bytes per page.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  /// One reference per page, in page order. The reference values themselves are not sorted.
  [[nodiscard]] std::span<const grant_ref> refs() const noexcept { return refs_; }
  /// True if pages are granted.
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

/// The open device. Pages may outlive it.
class grant_sharer {
 public:
  /// Throws `failure`. If /dev/xen/gntalloc is missing, the remedy names the module to load.
  [[nodiscard]] static grant_sharer open();

  /// Shares `count` new zeroed pages with `domain`. Throws `failure`. If the limit is reached, the
  /// message states it ("share 353 pages with domain 0: no space left on device (limit 1024 in
  /// ...)").
  [[nodiscard]] granted_pages share(domid domain, std::size_t count, bool writable);
  /// Shares one page. The kernel performs the actions in `notice` when the page is released.
  [[nodiscard]] granted_pages share_page(domid domain, bool writable, const release_notice& notice);

 private:
  explicit grant_sharer(std::shared_ptr<xengntdev_handle> handle) noexcept;
  std::shared_ptr<xengntdev_handle> handle_;
};

}  // namespace xenpv::xen
