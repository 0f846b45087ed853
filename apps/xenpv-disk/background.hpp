// A command that goes on in the background once it has something to show: the shell gets its
// prompt back, with the result or with the error and its exit status.
#pragma once

#include <iosfwd>
#include <optional>
#include <string_view>

#include "xenpv/base/unique_fd.hpp"
#include "xenpv/cli/exit_code.hpp"

namespace xenpv::disk_app {

struct background_start {
  /// In the process that was asked: how the command ended, or ok once the other one goes on.
  std::optional<cli::exit_code> outcome;
  /// In the other one, which carries the command out: for announce().
  unique_fd ready;
};

/// Forks; for the start of a command, before there are threads. The first process waits: it passes
/// on what the second writes to standard error, and prints to `out` what that one announces. The
/// second has a session of its own, and logs to syslog, too. Throws `failure`.
[[nodiscard]] background_start start_in_background(std::ostream& out);

/// Lets the first process print `line` and end. Standard error leads nowhere from now on.
void announce(background_start& start, std::string_view line);

}  // namespace xenpv::disk_app
