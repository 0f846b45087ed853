// The nodes by which a frontend tells the backend where its rings are, and those of a predecessor
// that have to go in the same transaction. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "xenpv/base/types.hpp"

namespace xenpv::blkfront {

/// Where one queue's ring is.
struct queue_transport {
  std::vector<grant_ref> ring;  ///< one for each page, in order
  port event_channel{};
};

struct transport_options {
  bool persistent = true;
  /// Deprecated in blkif.h, but QEMU refuses other sector sizes than 512 without it.
  bool large_sectors = false;
};

/// Names relative to the frontend's directory, with values; `state` is not among them.
/// `queues` is not empty, and all rings are of one size.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> transport_nodes(
    std::span<const queue_transport> queues, const transport_options& options);

/// Whether a node of the frontend's directory is part of a transport: anybody's, any version's.
[[nodiscard]] bool is_transport_node(std::string_view name) noexcept;

}  // namespace xenpv::blkfront
