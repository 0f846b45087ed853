// The running host that a command addresses, and the options for it (--dir, --domain), shared by
// all commands except `run`.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "cli/command.hpp"
#include "cli/completion.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::sim_app {

/// Adds --dir. `directory` is empty without the option; see running_host() and new_host().
cli::command& add_directory_option(cli::command& command, std::string& directory);

/// The name of the first guest, the default of --domain.
inline constexpr std::string_view first_guest = "guest-1";
inline constexpr std::string_view domain_help =
    "name or ID of the domain; unlike the ID, the name survives save and restore";

/// Returns the directory of the host that a command addresses: the one given with --dir; for a
/// process in a domain, that domain's host; otherwise the user's default directory. Does not check
/// that a host is running there. Throws `failure` if the default directory belongs to another user.
[[nodiscard]] std::filesystem::path running_host(const std::string& given);
/// Returns the directory for a new host: the one given with --dir, or the user's default directory,
/// $XDG_RUNTIME_DIR/xenpv-sim or /tmp/xenpv-sim-UID. Throws `failure` like running_host(), and if a
/// host is running there.
[[nodiscard]] std::filesystem::path new_host(const std::string& given);
/// Removes the directory of a host that has stopped if it is the default one.
void remove_default_directory(const std::filesystem::path& directory) noexcept;

/// Returns "xenpv-sim COMMAND --dir DIR" for messages, without --dir if it was not given.
[[nodiscard]] std::string command_for_host(std::string_view command, const std::string& given);

/// Opens xenstore as domain 0 of the host running in `directory`. Sets XENSTORED_PATH in the
/// environment of this process. Throws `failure`.
[[nodiscard]] xen::store open_domain_0_store(const std::filesystem::path& directory);

/// For app::complete_values(): the domains of the host that is addressed without --dir.
[[nodiscard]] std::vector<cli::completion_word> list_domains();

}  // namespace xenpv::sim_app
