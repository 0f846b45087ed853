#include "blkback/personality.hpp"

#include <cstddef>
#include <iterator>

namespace xenpv::blkback {
namespace {

/// Indexed by kind.
constexpr personality personalities[] = {
    {.kind = backend_kind::linux_blkback,
     .max_ring_page_order = 4,
     .max_indirect_segments = 256,
     .multi_queue = true,
     .persistent = true,
     .flush = true,
     .barrier = true,
     .discard = true,
     .discard_secure = true,
     .physical_sector_size = true,
     .attaches_at_published = true},
    {.kind = backend_kind::qemu,
     .max_ring_page_order = 4,
     .flush = true,
     .discard = true,
     .copies_grants = true,
     .ordering_before_init_wait = true,
     .properties_before_init_wait = true,
     .requires_large_sector_key = true,
     .sectors_node = sector_unit::sector_size,
     .ring_fields = sector_unit::sector_size,
     .unknown_is_error = true,
     .allows_empty = true,
     .resize = resize_signal::sectors_then_state},
    {.kind = backend_kind::tapdisk,
     .max_ring_page_order = 3,
     .barrier = true,
     .copies_grants = true,
     .order_zero_reads_ring_ref = true,
     .resize = resize_signal::sectors_by_toolstack},
    {.kind = backend_kind::freebsd,
     .max_ring_page_order = 4,
     .flush = true,
     .barrier = true,
     .ordering_before_init_wait = true,
     .sectors_node = sector_unit::sector_size,
     .reconnects = false,
     .unknown_is_error = true},
};

static_assert(std::size(personalities) == wire::backend_kinds.size());
static_assert([] {
  for (std::size_t i = 0; i < std::size(personalities); ++i)
    if (personalities[i].kind != static_cast<backend_kind>(i) ||
        wire::backend_kinds[i].value != static_cast<backend_kind>(i))
      return false;
  return true;
}());

}  // namespace

const personality& personality_of(backend_kind kind) noexcept {
  return personalities[static_cast<std::size_t>(kind)];
}

}  // namespace xenpv::blkback
