// Runs a command as a process of a simulated domain.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::sim_app {

/// Replaces this process with the command. Throws `failure` if the command cannot be started.
[[noreturn]] void execute_in_domain(const std::filesystem::path& domain_directory,
                                    const std::vector<std::string>& command);

/// Starts the command as a child process. If the command cannot be started, the child exits with
/// 126 or 127, as a shell does.
[[nodiscard]] pid_t spawn_in_domain(const std::filesystem::path& domain_directory,
                                    const std::vector<std::string>& command);

/// Waits for the child. Forwards SIGTERM and SIGHUP to it; ignores SIGINT and SIGQUIT, which the
/// terminal sends to the child as well. Returns the child's exit status, or 128 + signal number, as
/// a shell does.
[[nodiscard]] int wait_for(pid_t child);

/// Starts the command and waits for it, like spawn_in_domain() and wait_for(), but intercepts its
/// system calls: see sim/intercept/supervisor.hpp. Throws `failure` if that is not possible.
[[nodiscard]] int run_intercepted(const std::filesystem::path& domain_directory,
                                  const std::vector<std::string>& command);

/// The option that selects run_intercepted().
inline constexpr std::string_view intercept_flag = "--intercept-syscalls";
inline constexpr std::string_view intercept_help =
    "intercept system calls (seccomp), for programs that do not load libxensim.so, such as "
    "statically linked ones; see STATICALLY LINKED PROGRAMS in man xenpv-sim";

/// Makes this process the subreaper of its descendants, so that end_orphans() can find orphaned
/// processes.
void adopt_orphans();
/// Kills and reaps all remaining children.
void end_orphans();

}  // namespace xenpv::sim_app
