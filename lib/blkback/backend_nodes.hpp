// The nodes that each kind of backend (personality.hpp) writes into its directory, and when. Values
// only; the service writes them.
#pragma once

#include <string_view>
#include <vector>

#include "blkback/disk_config.hpp"
#include "blkback/nodes.hpp"

namespace xenpv::blkback {

/// Before `state` becomes InitWait.
[[nodiscard]] node_list nodes_before_init_wait(const disk_config& disk);
/// Before `state` becomes Connected.
[[nodiscard]] node_list nodes_on_connected(const disk_config& disk);
/// After a resize with a connected frontend; includes `state` if that is the signal. Written in one
/// transaction, except for backends that write the nodes one by one.
[[nodiscard]] node_list nodes_on_resize(const disk_config& disk);
/// All nodes that nodes_before_init_wait() and nodes_on_connected() may write: a restarted backend
/// removes them.
[[nodiscard]] const std::vector<std::string_view>& published_names();

}  // namespace xenpv::blkback
