// What a backend offers, read from its xenstore directory: parsed, bounded, and turned into what
// the frontend does about it. Pure: takes the nodes' values, reads nothing. Every value is the
// other side's claim.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "xenpv/base/error.hpp"
#include "xenpv/blk/geometry.hpp"

namespace xenpv::blkfront {

/// Nodes of a directory that exist, by name relative to it.
using node_map = std::map<std::string, std::string, std::less<>>;

/// The nodes of the backend's directory that parse_offer() and parse_properties() look at.
[[nodiscard]] std::span<const std::string_view> backend_nodes() noexcept;

/// Published before InitWait: what the transport may look like. Bounded to what the protocol
/// allows.
struct backend_offer {
  unsigned max_ring_page_order = 0;
  unsigned max_queues = 1;
  /// feature-max-indirect-segments; 0: no indirect requests.
  unsigned max_indirect_segments = 0;
  friend bool operator==(const backend_offer&, const backend_offer&) = default;
};

/// Published on Connected: what the disk is.
struct backend_properties {
  blk::geometry shape;
  /// Bytes that sector_number, nr_sectors, first_sect and last_sect count in.
  std::uint32_t unit = 512;
  bool flush_cache = false;
  bool barrier = false;
  bool persistent = false;
  friend bool operator==(const backend_properties&, const backend_properties&) = default;
};

/// Errors name the node and its value.
[[nodiscard]] result<backend_offer> parse_offer(const node_map& nodes);

/// `backend_kind`: the directory's type, "vbd" or "qdisk": it tells whose sector units these are.
/// `device_type`: the frontend's node of that name. Flush is reported in `shape` as it can be used
/// with `queues` queues.
[[nodiscard]] result<backend_properties> parse_properties(const node_map& nodes,
                                                          std::string_view backend_kind,
                                                          std::string_view device_type,
                                                          unsigned queues);

/// Whether a flush can be promised: by FLUSH_DISKCACHE, or by BARRIER, which orders one ring only.
[[nodiscard]] constexpr bool can_flush(bool flush_cache, bool barrier, unsigned queues) noexcept {
  return flush_cache || (barrier && queues == 1);
}

/// "vbd" of ".../backend/vbd/3/51728"; empty for a path that is not a backend's.
[[nodiscard]] std::string_view backend_kind(std::string_view backend_path) noexcept;

}  // namespace xenpv::blkfront
