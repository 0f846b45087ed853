// Habits of the block backends xenpv meets: what each offers, when it says so and where it differs
// from blkif.h. A table of constants; what is served where is disk_config.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace xenpv::blkback {

enum class backend_kind : std::uint8_t { linux_blkback, qemu, tapdisk, freebsd };

/// What a node or a field counts in.
enum class sector_unit : std::uint8_t { bytes_512, sector_size };

/// How a change of size is made known to a connected frontend.
enum class resize_signal : std::uint8_t {
  sectors_and_state,     ///< `sectors` and `state` in one transaction
  sectors_then_state,    ///< `sectors`, then `state`
  sectors_by_toolstack,  ///< `sectors` and `resize-device`; `state` is left alone
};

struct personality {
  backend_kind kind;
  std::string_view name;  ///< "linux", "qemu", "tapdisk", "freebsd"

  unsigned max_ring_page_order;         ///< offered; FreeBSD's own 5 is more than xenpv maps
  std::uint32_t max_indirect_segments;  ///< offered; 0: none, the node is absent
  bool multi_queue;
  bool persistent;  ///< maps grants and keeps them mapped if the frontend agrees
  bool flush;
  bool barrier;
  bool discard;
  bool physical_sector_size;  ///< publishes the node

  /// Grants are copied by the hypervisor, never mapped.
  bool copies_grants;
  /// Properties (`sectors`, `info`, ...) are there before InitWait instead of with Connected.
  bool properties_before_init_wait;
  /// Connects to a disk of other sectors than 512 bytes only if the frontend wrote
  /// `feature-large-sector-size`.
  bool wants_large_sector_key;
  sector_unit sectors_node;  ///< of the node `sectors`
  sector_unit ring_fields;   ///< of sector_number, nr_sectors, first_sect and last_sect

  /// A ring-page-order of 0 that is present: false reads `ring-ref0`, true reads `ring-ref`.
  bool order_zero_reads_ring_ref;
  /// Takes a ring over at its published responses (BACK_RING_ATTACH), not at 0.
  bool attaches_at_published;
  /// Serves a frontend that comes back (Closed, Initialising) after the first connection.
  bool reconnects;
  /// Answers an operation it does not know with ERROR instead of EOPNOTSUPP.
  bool unknown_is_error;
  /// Allows a read or write without segments.
  bool allows_empty;
  resize_signal resize;
};

[[nodiscard]] const personality& personality_of(backend_kind kind) noexcept;
[[nodiscard]] std::optional<backend_kind> parse_backend_kind(std::string_view name) noexcept;

}  // namespace xenpv::blkback
