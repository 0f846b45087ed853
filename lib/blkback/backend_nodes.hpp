// The nodes that each kind of backend (personality.hpp) writes to its xenstore directory at each
// step. These functions only compute the nodes; class disk writes them.
#pragma once

#include <string_view>
#include <vector>

#include "blkback/disk_config.hpp"
#include "blkback/nodes.hpp"

namespace xenpv::blkback {

/// Nodes to write before `state` becomes InitWait.
[[nodiscard]] node_list nodes_before_init_wait(const disk_config& disk);
/// Nodes to write before `state` becomes Connected.
[[nodiscard]] node_list nodes_on_connected(const disk_config& disk);
/// Nodes to write after a resize if a frontend is connected; includes `state` if the backend
/// announces the resize with it. They are written in one transaction, unless this kind of backend
/// writes them one by one.
[[nodiscard]] node_list nodes_on_resize(const disk_config& disk);
/// All nodes that nodes_before_init_wait() and nodes_on_connected() may return. A restarted backend
/// removes them.
[[nodiscard]] const std::vector<std::string_view>& published_names();

}  // namespace xenpv::blkback
