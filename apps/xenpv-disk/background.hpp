// Continues a command in the background once it has a result: the shell gets its prompt back, with
// the result, or with the error and its exit status.
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
  /// In the second process, which carries out the command: for announce().
  unique_fd ready;
};

/// Forks; to be called at the start of a command, before there are threads. The first process
/// waits: it forwards the second's stderr, and prints the line that the second announces to `out`.
/// The second process has a session of its own, and also logs to syslog. Throws `failure`.
[[nodiscard]] background_start start_in_background(std::ostream& out);

/// Makes the first process print `line` and end. Discards stderr from now on.
void announce(background_start& start, std::string_view line);

}  // namespace xenpv::disk_app
