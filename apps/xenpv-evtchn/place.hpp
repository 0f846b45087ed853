// Shared by the commands: the --root option, the inventory and the printed list of sources.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "channels/inventory.hpp"
#include "cli/command.hpp"

namespace xenpv::evtchn_app {

/// Adds the standard option --root, which selects an unpacked capture instead of this guest.
void add_root_option(cli::command& command, std::string& target);

/// Reads and joins the facts. Throws errc::not_available if this is not a Xen guest and there are
/// no channels.
[[nodiscard]] channels::inventory take_inventory(const channels::fact_source& source);

/// Prints to stderr which sources were used, and what the unused sources require.
void print_sources(const std::vector<channels::source_status>& sources);

}  // namespace xenpv::evtchn_app
