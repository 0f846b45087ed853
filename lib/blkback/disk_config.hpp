// The configuration of a served disk: its geometry and the features it offers, derived from the
// personality's defaults and the user's settings. Contains only values.
#pragma once

#include <cstdint>

#include "blkback/personality.hpp"

namespace xenpv::blkback {

struct disk_config {
  backend_kind kind = backend_kind::linux_blkback;
  std::uint64_t size = 0;  ///< bytes, a multiple of sector_size; 0: an empty drive
  std::uint32_t sector_size = 512;
  std::uint32_t physical_sector_size = 512;
  bool read_only = false;
  bool cdrom = false;
  bool removable = false;

  std::uint32_t max_queues = 1;
  unsigned max_ring_page_order = 0;
  std::uint32_t max_indirect_segments = 0;  ///< 0: indirect requests are refused
  bool persistent = false;
  bool flush = false;
  bool barrier = false;
  bool discard = false;
  bool secure_discard = false;
  std::uint32_t discard_granularity = 4096;  ///< bytes

  [[nodiscard]] const blkback::personality& personality() const noexcept {
    return personality_of(kind);
  }
  /// Returns the number of bytes per unit of the ring's sector fields.
  [[nodiscard]] std::uint32_t ring_unit() const noexcept {
    return personality().ring_fields == sector_unit::sector_size ? sector_size : 512;
  }
  /// Returns the value of the node `sectors`.
  [[nodiscard]] std::uint64_t sectors() const noexcept {
    return size / (personality().sectors_node == sector_unit::sector_size ? sector_size : 512);
  }
};

/// Returns the configuration of a writable disk with all features of this kind of backend.
/// `queues`: the queue limit of a multi-queue backend; blkback's limit is its number of CPUs.
[[nodiscard]] constexpr disk_config usual_config(const personality& personality, std::uint64_t size,
                                                 std::uint32_t queues = 1) noexcept {
  disk_config out;
  out.kind = personality.kind;
  out.size = size;
  out.max_queues = personality.multi_queue ? queues : 1;
  out.max_ring_page_order = personality.max_ring_page_order;
  out.max_indirect_segments = personality.max_indirect_segments;
  out.persistent = personality.persistent;
  out.flush = personality.flush;
  out.barrier = personality.barrier;
  out.discard = personality.discard;
  return out;
}

}  // namespace xenpv::blkback
