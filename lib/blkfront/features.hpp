// Parses and limits the features in a backend's xenstore directory. Does not trust any of the
// values. Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "xenpv/base/error.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

/// The existing nodes of a directory and their values, by relative name.
using node_map = std::map<std::string, std::string, std::less<>>;
/// Returns a node's value, or `absent` if the node does not exist.
[[nodiscard]] std::string value_or(const node_map& nodes, std::string_view name,
                                   std::string_view absent = {});

/// The names of the backend nodes that parse_offer(), parse_properties() and parse_identity() use.
[[nodiscard]] std::span<const std::string_view> backend_nodes() noexcept;

/// The transport limits that the backend publishes before InitWait, capped at the protocol limits.
struct backend_offer {
  unsigned max_ring_page_order = 0;
  unsigned max_queues = 1;
  /// From feature-max-indirect-segments; 0: indirect requests are not supported.
  unsigned max_indirect_segments = 0;
  friend bool operator==(const backend_offer&, const backend_offer&) = default;
};

/// The disk properties that the backend publishes when it goes to Connected.
struct backend_properties {
  blk::geometry shape;
  /// The unit, in bytes, of sector_number, nr_sectors, first_sect and last_sect.
  std::uint32_t unit = 512;
  bool flush_cache = false;
  bool barrier = false;
  bool persistent = false;
  friend bool operator==(const backend_properties&, const backend_properties&) = default;
};

/// Errors include the node's name and value.
[[nodiscard]] result<backend_offer> parse_offer(const node_map& nodes);

/// `backend_kind`: the type in the directory's path, "vbd" or "qdisk", which determines the sector
/// unit. `device_type`: the frontend's `device-type` node. `shape` reports flush only if flush is
/// usable with `queues` queues.
[[nodiscard]] result<backend_properties> parse_properties(const node_map& nodes,
                                                          std::string_view backend_kind,
                                                          std::string_view device_type,
                                                          unsigned queues);

/// Whether flush is supported, by FLUSH_DISKCACHE or, with a single queue, by BARRIER: a barrier
/// orders only its own ring.
[[nodiscard]] constexpr bool can_flush(bool flush_cache, bool barrier, unsigned queues) noexcept {
  return flush_cache || (barrier && queues == 1);
}

/// Returns "vbd" for ".../backend/vbd/3/51728"; empty if `backend_path` is not a backend path.
[[nodiscard]] std::string_view backend_kind(std::string_view backend_path) noexcept;

}  // namespace xenpv::blkfront
