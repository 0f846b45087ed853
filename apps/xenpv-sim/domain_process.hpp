// A command run as a process of a simulated domain.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace xenpv::sim_app {

/// Replaces this process by the command. Throws `failure` when it cannot be started.
[[noreturn]] void execute_in_domain(const std::filesystem::path& domain_directory,
                                    const std::vector<std::string>& command);

/// Starts the command as a child; the child exits with 126 or 127, as a shell's would, when it
/// cannot be started.
[[nodiscard]] pid_t spawn_in_domain(const std::filesystem::path& domain_directory,
                                    const std::vector<std::string>& command);

/// Waits for the child, passing SIGTERM and SIGHUP on to it and leaving ^C to it; returns its
/// status as a shell would (128 + signal).
[[nodiscard]] int wait_for(pid_t child);

/// Makes orphans of this process's descendants its own children, so that end_orphans can find them.
void adopt_orphans();
/// Kills every child that is left.
void end_orphans();

}  // namespace xenpv::sim_app
