#include "blkback/personality.hpp"

#include <array>

namespace xenpv::blkback {
namespace {

constexpr personality linux_blkback = {
    .kind = backend_kind::linux_blkback,
    .max_ring_page_order = 4,
    .max_indirect_segments = 256,
    .multi_queue = true,
    .persistent = true,
    .flush = true,
    .barrier = true,
    .discard = true,
    .physical_sector_size = true,
    .copies_grants = false,
    .properties_before_init_wait = false,
    .requires_large_sector_key = false,
    .sectors_node = sector_unit::bytes_512,
    .ring_fields = sector_unit::bytes_512,
    .order_zero_reads_ring_ref = false,
    .attaches_at_published = true,
    .reconnects = true,
    .unknown_is_error = false,
    .allows_empty = false,
    .resize = resize_signal::sectors_and_state,
};

constexpr personality qemu = {
    .kind = backend_kind::qemu,
    .max_ring_page_order = 4,
    .max_indirect_segments = 0,
    .multi_queue = false,
    .persistent = false,
    .flush = true,
    .barrier = false,
    .discard = true,
    .physical_sector_size = false,
    .copies_grants = true,
    .properties_before_init_wait = true,
    .requires_large_sector_key = true,
    .sectors_node = sector_unit::sector_size,
    .ring_fields = sector_unit::sector_size,
    .order_zero_reads_ring_ref = false,
    .attaches_at_published = false,
    .reconnects = true,
    .unknown_is_error = true,
    .allows_empty = true,
    .resize = resize_signal::sectors_then_state,
};

constexpr personality tapdisk = {
    .kind = backend_kind::tapdisk,
    .max_ring_page_order = 3,
    .max_indirect_segments = 0,
    .multi_queue = false,
    .persistent = false,
    .flush = false,
    .barrier = true,
    .discard = false,
    .physical_sector_size = false,
    .copies_grants = true,
    .properties_before_init_wait = false,
    .requires_large_sector_key = false,
    .sectors_node = sector_unit::bytes_512,
    .ring_fields = sector_unit::bytes_512,
    .order_zero_reads_ring_ref = true,
    .attaches_at_published = false,
    .reconnects = true,
    .unknown_is_error = false,
    .allows_empty = false,
    .resize = resize_signal::sectors_by_toolstack,
};

constexpr personality freebsd = {
    .kind = backend_kind::freebsd,
    .max_ring_page_order = 4,
    .max_indirect_segments = 0,
    .multi_queue = false,
    .persistent = false,
    .flush = true,
    .barrier = true,
    .discard = false,
    .physical_sector_size = false,
    .copies_grants = false,
    .properties_before_init_wait = false,
    .requires_large_sector_key = false,
    .sectors_node = sector_unit::sector_size,
    .ring_fields = sector_unit::bytes_512,
    .order_zero_reads_ring_ref = false,
    .attaches_at_published = false,
    .reconnects = false,
    .unknown_is_error = true,
    .allows_empty = false,
    .resize = resize_signal::sectors_and_state,
};

constexpr std::array personalities = {&linux_blkback, &qemu, &tapdisk, &freebsd};

}  // namespace

const personality& personality_of(backend_kind kind) noexcept {
  return *personalities[static_cast<std::size_t>(kind)];
}

}  // namespace xenpv::blkback
