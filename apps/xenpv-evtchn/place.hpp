// --root, and the words about sources that all commands print.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "xenpv/cli/command.hpp"
#include "xenpv/diag/inventory.hpp"

namespace xenpv::evtchn_app {

/// The standard --root: a captured tree instead of this guest.
void offer_root(cli::command& command, std::string& target);

/// Reads and joins. Throws errc::not_available where there is neither Xen nor a channel.
[[nodiscard]] diag::inventory take_inventory(const diag::reading_place& place);

/// To standard error: which rungs of the source ladder were used, and what the others would need.
void tell_sources(const std::vector<diag::rung>& ladder);

}  // namespace xenpv::evtchn_app
