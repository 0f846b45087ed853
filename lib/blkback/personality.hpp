// The behaviour of real block backends: the features that each backend offers, when it publishes
// them, and where it deviates from blkif.h. A table of constants; disk_config.hpp configures a
// single disk.
#pragma once

#include <cstdint>

#include "wire/simulated_disk.hpp"

namespace xenpv::blkback {

using wire::backend_kind;

/// The unit of a node or of a ring field.
enum class sector_unit : std::uint8_t { bytes_512, sector_size };

/// How a backend announces a resize to a connected frontend.
enum class resize_signal : std::uint8_t {
  sectors_and_state,     ///< `sectors` and `state` in one transaction
  sectors_then_state,    ///< `sectors`, then `state`
  sectors_by_toolstack,  ///< `sectors` and `resize-device`; `state` is not written
};

/// The defaults describe a backend without optional features.
struct personality {
  backend_kind kind;

  unsigned max_ring_page_order = 0;         ///< offered; FreeBSD offers 5, which xenpv cannot map
  std::uint32_t max_indirect_segments = 0;  ///< offered; 0: not supported, the node is absent
  bool multi_queue = false;
  bool persistent = false;  ///< keeps grants mapped if the frontend supports it
  bool flush = false;
  bool barrier = false;
  bool discard = false;
  bool discard_secure = false;        ///< publishes the node `discard-secure`
  bool physical_sector_size = false;  ///< publishes the node `physical-sector-size`

  /// The hypervisor copies the grants; the backend never maps them.
  bool copies_grants = false;
  /// Publishes flush and barrier before InitWait instead of with Connected.
  bool ordering_before_init_wait = false;
  /// Publishes properties (`sectors`, `info`, ...) before InitWait instead of with Connected.
  bool properties_before_init_wait = false;
  /// Requires the frontend to write `feature-large-sector-size` unless the sector size is 512
  /// bytes.
  bool requires_large_sector_key = false;
  sector_unit sectors_node = sector_unit::bytes_512;  ///< unit of the node `sectors`
  /// Unit of sector_number, nr_sectors, first_sect and last_sect.
  sector_unit ring_fields = sector_unit::bytes_512;

  /// For an explicit ring-page-order of 0: true reads `ring-ref`, false reads `ring-ref0`.
  bool order_zero_reads_ring_ref = false;
  /// Starts at the ring's published response index (BACK_RING_ATTACH), not at 0.
  bool attaches_at_published = false;
  /// Serves a frontend that reconnects (changes from Closed to Initialising).
  bool reconnects = true;
  /// Answers an unknown operation with ERROR instead of EOPNOTSUPP.
  bool unknown_is_error = false;
  /// Accepts a read or write without segments.
  bool allows_empty = false;
  resize_signal resize = resize_signal::sectors_and_state;
};

[[nodiscard]] const personality& personality_of(backend_kind kind) noexcept;

}  // namespace xenpv::blkback
