// Accesses a frontend's pages through /dev/xen/gntdev. Owned by a ring server and used on its
// thread.
#pragma once

#include <vector>

#include "blkback/foreign_memory.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/xen/grant_map.hpp"

namespace xenpv::blkback {

class mapped_memory final : public foreign_memory {
 public:
  mapped_memory(xen::grant_mapper& mapper, domid frontend) : mapper_(mapper), frontend_(frontend) {}

  mapping map(std::span<const std::uint32_t> refs, bool writable,
              std::span<std::byte*> pages) noexcept override;
  void unmap(mapping which) noexcept override;
  bool copy_from(std::span<const foreign_piece> pieces) noexcept override {
    return copy(pieces, &xen::grant_mapper::copy_from);
  }
  bool copy_to(std::span<const foreign_piece> pieces) noexcept override {
    return copy(pieces, &xen::grant_mapper::copy_to);
  }

 private:
  using copy_function = void (xen::grant_mapper::*)(std::span<xen::copy_segment>);
  bool copy(std::span<const foreign_piece> pieces, copy_function direction) noexcept;

  xen::grant_mapper& mapper_;
  domid frontend_;
  std::vector<xen::mapped_grants> mappings_;  ///< mapping n is at index n - 1
  std::vector<mapping> free_;
  std::vector<grant_ref> refs_;
  std::vector<xen::copy_segment> segments_;
};

}  // namespace xenpv::blkback
