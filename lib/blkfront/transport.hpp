// The xenstore nodes through which a frontend publishes its rings. Also identifies the nodes of a
// previous frontend, which the same transaction removes. Pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "xenpv/base/types.hpp"

namespace xenpv::blkfront {

/// The ring and event channel of one queue.
struct queue_transport {
  std::vector<grant_ref> ring;  ///< grant references of the ring pages, in order
  port event_channel{};
};

struct transport_options {
  bool persistent = true;
  /// Deprecated in blkif.h, but without it QEMU refuses sector sizes other than 512.
  bool large_sectors = false;
};

/// Returns the names, relative to the frontend's directory, and values of all nodes except `state`.
/// `queues` must not be empty, and all rings must have the same size.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> transport_nodes(
    std::span<const queue_transport> queues, const transport_options& options);

/// Whether a node in the frontend's directory is a transport node of any frontend or version.
[[nodiscard]] bool is_transport_node(std::string_view name) noexcept;

}  // namespace xenpv::blkfront
