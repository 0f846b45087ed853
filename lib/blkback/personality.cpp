#include "blkback/personality.hpp"

#include <algorithm>
#include <array>

namespace xenpv::blkback {
namespace {

constexpr personality linux_blkback = {
    .kind = backend_kind::linux_blkback,
    .name = "linux",
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
    .wants_large_sector_key = false,
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
    .name = "qemu",
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
    .wants_large_sector_key = true,
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
    .name = "tapdisk",
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
    .wants_large_sector_key = false,
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
    .name = "freebsd",
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
    .wants_large_sector_key = false,
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

std::optional<backend_kind> parse_backend_kind(std::string_view name) noexcept {
  const auto* const found =
      std::find_if(personalities.begin(), personalities.end(),
                   [name](const personality* each) { return each->name == name; });
  if (found == personalities.end()) return std::nullopt;
  return (*found)->kind;
}

}  // namespace xenpv::blkback
