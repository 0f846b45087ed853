// What a backend writes into its directory, and when: per kind of backend (personality.hpp). Values
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
/// After a change of size, with a frontend connected; `state` among them where that is the signal.
/// To be written in one transaction, unless the backend is known to write one after the other.
[[nodiscard]] node_list nodes_on_resize(const disk_config& disk);
/// All that nodes_before_init_wait() and nodes_on_connected() may ever write: what a restarted
/// backend leaves behind for itself.
[[nodiscard]] const std::vector<std::string_view>& published_names();

}  // namespace xenpv::blkback
