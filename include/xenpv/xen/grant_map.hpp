// Accesses another domain's pages through /dev/xen/gntdev: maps them (gnttab) or has the hypervisor
// copy them (grant copy). The other domain may change mapped bytes at any time: copy them once,
// validate the copy, and use only the copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "xenpv/base/types.hpp"
#include "xenpv/xen/grant_share.hpp"

namespace xenpv::xen {

/// How to map foreign pages. The granting domain must have permitted it.
enum class map_access { read_only, read_write };

/// Mapped foreign pages, at contiguous addresses in this process; move-only.
class mapped_grants {
 public:
  mapped_grants() noexcept = default;
  mapped_grants(mapped_grants&& other) noexcept;
  mapped_grants& operator=(mapped_grants&& other) noexcept;
  ~mapped_grants();

  /// The mapped memory: page_size bytes per page, in the order of the references.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  /// True if pages are mapped.
  [[nodiscard]] explicit operator bool() const noexcept { return !bytes_.empty(); }

 private:
  friend class grant_mapper;
  mapped_grants(std::shared_ptr<xengntdev_handle> handle, std::span<std::byte> bytes) noexcept;
  void unmap() noexcept;

  std::shared_ptr<xengntdev_handle> handle_;
  std::span<std::byte> bytes_;
};

/// One segment of a grant copy; it must not cross a page boundary on the foreign side.
struct copy_segment {
  domid foreign;               ///< the granting domain
  grant_ref ref;               ///< of the page
  std::uint16_t offset = 0;    ///< in bytes, within the foreign page
  std::span<std::byte> local;  ///< at most 4096 - offset bytes
  std::int16_t status = 0;     ///< result: GNTST_okay (0), or negative on failure
};

/// The open device. Mappings may outlive it.
class grant_mapper {
 public:
  /// Throws `failure`. If /dev/xen/gntdev is missing, the remedy names the module to load.
  [[nodiscard]] static grant_mapper open();

  /// Maps `refs` of `domain`. Blocks while a granted page is paged out. Throws `failure`.
  [[nodiscard]] mapped_grants map(domid domain, std::span<const grant_ref> refs, map_access access);
  /// Maps one page. The kernel performs the actions in `notice` when the page is unmapped or this
  /// process exits.
  [[nodiscard]] mapped_grants map_page(domid domain, grant_ref ref, map_access access,
                                       const release_notice& notice);

  /// Copy from foreign to local memory and from local to foreign memory. Throw `failure` if the
  /// call itself fails. If a segment fails, set the status of every segment and throw
  /// errc::protocol_violation with a message that names the first failed segment.
  /// @{
  void copy_from(std::span<copy_segment> segments);
  void copy_to(std::span<copy_segment> segments);
  /// @}

 private:
  explicit grant_mapper(std::shared_ptr<xengntdev_handle> handle) noexcept;
  void copy(std::span<copy_segment> segments, bool to_foreign);
  std::shared_ptr<xengntdev_handle> handle_;
};

}  // namespace xenpv::xen
