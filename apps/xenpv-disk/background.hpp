// Moves a command to the background once the command has a result. The foreground process then
// prints the result or the error, and exits with the status of the command.
#pragma once

#include <iosfwd>
#include <optional>
#include <string_view>

#include "cli/exit_code.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::disk_app {

struct background_start {
  /// In the first process: the command's exit code, or ok once the second process continues.
  std::optional<cli::exit_code> outcome;
  /// In the second process, which executes the command: the pipe for announce().
  unique_fd ready;
};

/// Forks. Call at the start of a command, before any threads exist. The first process waits: it
/// forwards the second process's stderr, and prints to `out` the line that the second process
/// announces. The second process has its own session, and also logs to syslog. Throws `failure`.
[[nodiscard]] background_start start_in_background(std::ostream& out);

/// Makes the first process print `line` and exit. Discards all further output to stderr.
void announce(background_start& start, std::string_view line);

}  // namespace xenpv::disk_app
