#include "blkback/mapped_memory.hpp"

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkback {

foreign_memory::mapping mapped_memory::map(std::span<const std::uint32_t> refs, bool writable,
                                           std::span<std::byte*> pages) noexcept {
  refs_.clear();
  for (const auto ref : refs)
    refs_.push_back(grant_ref{ref});
  try {
    auto mapped = mapper_.map(frontend_, refs_,
                              writable ? xen::map_access::read_write : xen::map_access::read_only);
    for (std::size_t i = 0; i < refs.size(); ++i)
      pages[i] = mapped.bytes().data() + i * page_size;
    if (free_.empty()) {
      mappings_.push_back(std::move(mapped));
      return static_cast<mapping>(mappings_.size());
    }
    const auto which = free_.back();
    free_.pop_back();
    mappings_[which - 1] = std::move(mapped);
    return which;
  } catch (const failure& problem) {
    log().debug("{}", problem.what());
    return 0;
  }
}

void mapped_memory::unmap(mapping which) noexcept {
  mappings_[which - 1] = {};
  free_.push_back(which);
}

bool mapped_memory::copy(std::span<const foreign_piece> pieces, copy_function direction) noexcept {
  segments_.clear();
  for (const auto& piece : pieces)
    segments_.push_back(
        {frontend_, grant_ref{piece.ref}, piece.offset, {piece.local, piece.length}, 0});
  try {
    (mapper_.*direction)(segments_);
    return true;
  } catch (const failure& problem) {
    log().debug("{}", problem.what());
    return false;
  }
}

}  // namespace xenpv::blkback
