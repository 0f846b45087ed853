#include "blkback/page_array.hpp"

#include <cstring>

namespace xenpv::blkback {
bool page_array::is_granted(std::uint32_t ref, bool writable) const noexcept {
  const auto index = std::size_t{ref} - first_;
  return ref >= first_ && index < read_only_.size() && !(writable && read_only_[index]);
}

foreign_memory::mapping page_array::map(std::span<const std::uint32_t> refs, bool writable,
                                        std::span<std::byte*> pages) noexcept {
  ++map_calls_;
  mapped_writable_ = writable;
  for (std::size_t i = 0; i < refs.size(); ++i) {
    if (!is_granted(refs[i], writable)) return 0;
    pages[i] = page(refs[i]);
  }
  ++mappings_;
  return 1;
}

void page_array::unmap(mapping) noexcept {
  --mappings_;
}

bool page_array::copy_from(std::span<const foreign_piece> pieces) noexcept {
  for (const auto& piece : pieces) {
    if (!is_granted(piece.ref, false)) return false;
    std::memcpy(piece.local, page(piece.ref) + piece.offset, piece.length);
  }
  return true;
}

bool page_array::copy_to(std::span<const foreign_piece> pieces) noexcept {
  for (const auto& piece : pieces) {
    if (!is_granted(piece.ref, true)) return false;
    std::memcpy(page(piece.ref) + piece.offset, piece.local, piece.length);
  }
  return true;
}

}  // namespace xenpv::blkback
