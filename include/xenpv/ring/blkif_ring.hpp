// The block protocol's ring types and their capacity.
#pragma once

#include "xenpv/base/types.hpp"
#include "xenpv/ring/back_ring.hpp"
#include "xenpv/ring/front_ring.hpp"
#include "xenpv/wire/blkif.hpp"

namespace xenpv::ring {

/// The frontend end of a ring of the block protocol.
using blkif_front_ring = front_ring<wire::blkif_request, wire::blkif_response>;
/// The backend end of a ring of the block protocol.
using blkif_back_ring = back_ring<wire::blkif_request, wire::blkif_response>;
static_assert(blkif_front_ring::stride == 112 && blkif_back_ring::stride == 112);

/// The largest `ring-page-order` that xenpv uses: 16 pages, which is also blkback's limit.
inline constexpr unsigned blkif_max_ring_page_order = 4;

/// The number of entries in a ring of 2^page_order pages.
[[nodiscard]] constexpr std::uint32_t blkif_ring_entries(unsigned page_order) noexcept {
  return entries_in(page_size << page_order, blkif_front_ring::stride);
}
static_assert(blkif_ring_entries(0) == 32 && blkif_ring_entries(1) == 64 &&
              blkif_ring_entries(2) == 128 && blkif_ring_entries(3) == 256 &&
              blkif_ring_entries(4) == 512);

}  // namespace xenpv::ring
