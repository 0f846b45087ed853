// One disk as a backend serves it: geometry and what is offered, settled between the personality's
// habits and the user's wishes. Values only.
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

  [[nodiscard]] const personality& habits() const noexcept { return personality_of(kind); }
  /// Bytes that one unit of a ring's sector fields stands for.
  [[nodiscard]] std::uint32_t ring_unit() const noexcept {
    return habits().ring_fields == sector_unit::sector_size ? sector_size : 512;
  }
  /// The value of the node `sectors`.
  [[nodiscard]] std::uint64_t sectors() const noexcept {
    return size / (habits().sectors_node == sector_unit::sector_size ? sector_size : 512);
  }
};

/// A writable disk with all that this kind of backend has to offer. `queues`: the limit of a
/// backend with several, which blkback takes from the number of its CPUs.
[[nodiscard]] constexpr disk_config usual_config(const personality& habits, std::uint64_t size,
                                                 std::uint32_t queues = 1) noexcept {
  disk_config out;
  out.kind = habits.kind;
  out.size = size;
  out.max_queues = habits.multi_queue ? queues : 1;
  out.max_ring_page_order = habits.max_ring_page_order;
  out.max_indirect_segments = habits.max_indirect_segments;
  out.persistent = habits.persistent;
  out.flush = habits.flush;
  out.barrier = habits.barrier;
  out.discard = habits.discard;
  return out;
}

}  // namespace xenpv::blkback
