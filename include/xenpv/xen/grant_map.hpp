// Pages of another domain: mapped (gnttab) or copied by the hypervisor (grant copy).
// /dev/xen/gntdev. The other domain may change mapped bytes at any time: copy once, then validate,
// then use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "xenpv/base/types.hpp"
#include "xenpv/xen/grant_share.hpp"

namespace xenpv::xen {

enum class map_access { read_only, read_write };

/// Mapped foreign pages, contiguous in this process's address space; move-only.
class mapped_grants {
 public:
  mapped_grants() noexcept = default;
  mapped_grants(mapped_grants&& other) noexcept;
  mapped_grants& operator=(mapped_grants&& other) noexcept;
  ~mapped_grants();

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] explicit operator bool() const noexcept { return !bytes_.empty(); }

 private:
  friend class grant_mapper;
  mapped_grants(std::shared_ptr<xengntdev_handle> handle, std::span<std::byte> bytes) noexcept;
  void unmap() noexcept;

  std::shared_ptr<xengntdev_handle> handle_;
  std::span<std::byte> bytes_;
};

/// One segment of a grant copy; it may not cross a page boundary on the foreign side.
struct copy_segment {
  domid foreign;
  grant_ref ref;
  std::uint16_t offset = 0;    ///< within the foreign page, bytes
  std::span<std::byte> local;  ///< at most 4096 - offset bytes
  std::int16_t status = 0;     ///< out: GNTST_okay is 0, failures are negative
};

/// The open device. Mappings may outlive it.
class grant_mapper {
 public:
  [[nodiscard]] static grant_mapper open();

  /// Maps `refs` of `domain`. Blocks while a granted page is paged out. Throws `failure`.
  [[nodiscard]] mapped_grants map(domid domain, std::span<const grant_ref> refs, map_access access);
  /// Maps one page; the kernel carries out `notice` when it is unmapped or this process dies.
  [[nodiscard]] mapped_grants map_page(domid domain, grant_ref ref, map_access access,
                                       const release_notice& notice);

  /// Copies foreign -> local, or local -> foreign. Throws if the call itself fails. If segments
  /// fail, throws errc::protocol_violation, which names the first of them, and sets every segment's
  /// status.
  void copy_from(std::span<copy_segment> segments);
  void copy_to(std::span<copy_segment> segments);

 private:
  explicit grant_mapper(std::shared_ptr<xengntdev_handle> handle) noexcept;
  void copy(std::span<copy_segment> segments, bool to_foreign);
  std::shared_ptr<xengntdev_handle> handle_;
};

}  // namespace xenpv::xen
