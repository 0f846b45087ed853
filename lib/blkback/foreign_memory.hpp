// Gives an engine access to the frontend's pages, either by mapping them or by grant copy.
// mapped_memory.hpp implements this interface with xen::grant_mapper; tests use local pages
// (page_array.hpp).
//
// Called on the engine's thread. The calls do not throw: a refused grant becomes an error response.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace xenpv::blkback {

/// One segment of a copy, within one foreign page.
struct foreign_piece {
  std::uint32_t ref;
  std::uint16_t offset;  ///< in bytes, within the page
  std::uint16_t length;  ///< bytes; offset + length <= 4096
  std::byte* local;
};

class foreign_memory {
 public:
  virtual ~foreign_memory() = default;

  /// Identifies the pages mapped by one map() call; 0: no mapping.
  using mapping = std::uint32_t;

  /// Maps the pages of `refs` (not empty) and stores their addresses in `pages` (at least as long).
  /// If a page cannot be mapped, returns 0 without mapping any page. The frontend may change the
  /// bytes at any time.
  [[nodiscard]] virtual mapping map(std::span<const std::uint32_t> refs, bool writable,
                                    std::span<std::byte*> pages) noexcept = 0;
  virtual void unmap(mapping which) noexcept = 0;

  /// Returns false if at least one piece could not be copied.
  [[nodiscard]] virtual bool copy_from(std::span<const foreign_piece> pieces) noexcept = 0;
  [[nodiscard]] virtual bool copy_to(std::span<const foreign_piece> pieces) noexcept = 0;
};

}  // namespace xenpv::blkback
