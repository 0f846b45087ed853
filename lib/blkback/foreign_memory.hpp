// How an engine reaches the frontend's pages: mapped, or copied by the hypervisor. The real one is
// over xen::grant_mapper (mapped_memory.hpp); tests use pages of their own (page_array.hpp).
//
// Called on the engine's thread. No call throws: a grant that is refused is the frontend's fault or
// misfortune, and answered to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace xenpv::blkback {

/// One piece of a copy, within one foreign page.
struct foreign_piece {
  std::uint32_t ref;
  std::uint16_t offset;  ///< bytes into the page
  std::uint16_t length;  ///< bytes; offset + length <= 4096
  std::byte* local;
};

class foreign_memory {
 public:
  virtual ~foreign_memory() = default;

  /// Names what one call of map() mapped; 0 is none.
  using mapping = std::uint32_t;

  /// Maps the pages of `refs`, which are not none, and fills `pages`, which is as long. 0: at least
  /// one cannot be mapped like that, and none is. The frontend may change the bytes at any time.
  [[nodiscard]] virtual mapping map(std::span<const std::uint32_t> refs, bool writable,
                                    std::span<std::byte*> pages) noexcept = 0;
  virtual void unmap(mapping which) noexcept = 0;

  /// False: at least one piece could not be copied.
  [[nodiscard]] virtual bool copy_from(std::span<const foreign_piece> pieces) noexcept = 0;
  [[nodiscard]] virtual bool copy_to(std::span<const foreign_piece> pieces) noexcept = 0;
};

}  // namespace xenpv::blkback
