// --root, the inventory, and the list of sources that the commands print.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "channels/inventory.hpp"
#include "cli/command.hpp"

namespace xenpv::evtchn_app {

/// Adds the standard --root: a captured tree instead of this guest.
void add_root_option(cli::command& command, std::string& target);

/// Reads and joins the facts. Throws errc::not_available if there is neither Xen nor a channel.
[[nodiscard]] channels::inventory take_inventory(const channels::fact_source& source);

/// To stderr: the sources that were used, and the requirements of the others.
void print_sources(const std::vector<channels::source_status>& sources);

}  // namespace xenpv::evtchn_app
