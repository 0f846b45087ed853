// Shared by the commands: the --root option, the facts about the guest, and the printed sources and
// problems.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "channels/inventory.hpp"
#include "cli/command.hpp"
#include "doctor/guest_snapshot.hpp"

namespace xenpv::evtchn_app {

/// Adds the standard option --root, which selects an unpacked capture instead of this guest.
void add_root_option(cli::command& command, std::string& target);

/// Reads and joins the facts about the domain and its event channels
/// (doctor::take_channel_snapshot). Throws errc::not_available if this is not a Xen guest and there
/// are no channels.
[[nodiscard]] doctor::guest_snapshot take_guest(const channels::fact_source& source);
/// Returns only the inventory.
[[nodiscard]] channels::inventory take_inventory(const channels::fact_source& source);

/// Throws errc::not_available if this is not a Xen guest and `interrupts` has no event channel.
void require_guest(const system_root& root, const channels::interrupt_table& interrupts);

/// Prints to stderr which lines of /proc/interrupts could not be parsed: their channels are
/// missing.
void print_problems(const std::vector<std::string>& problems);

/// Prints to stderr the used sources, and the requirements of the unused ones.
void print_sources(const std::vector<channels::source_status>& sources);

}  // namespace xenpv::evtchn_app
