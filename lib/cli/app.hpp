// A command-line program: its root command, the options common to all xenpv programs, and the steps
// from a command line to an exit status. Data goes to stdout, messages to stderr. Constructed and
// run by one thread, in main; owns its commands, but not the variables that their options set.
#pragma once

#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "cli/command.hpp"

namespace xenpv::cli {

/// Exit statuses for a program that uses 0, 1 and 2 as results, like diff(1) or a monitoring check.
/// Failures and usage errors then need other statuses, which the manual page lists.
struct exit_statuses {
  struct meaning {
    int status = 0;
    std::string text = {};  ///< a sentence for the manual page
  };
  std::vector<meaning> results = {};
  int failed = 1;
  int usage = 2;
};

/// Every app accepts -h/--help, --version, --log and --log-level, before or after its sub-command.
/// Also accepted, but not listed in --help and only without other options: --help-man (manual page
/// in roff), and --long-options, --short-options and --subcommands (one per line, of the named
/// sub-command if any) for shell completion.
class app {
 public:
  app(std::string name, std::string summary);
  ~app();
  app(const app&) = delete;
  app& operator=(const app&) = delete;

  /// The root command. Its options and arguments apply to all commands. An app without sub-commands
  /// has only this command.
  [[nodiscard]] command& root() noexcept { return root_; }
  /// Replaces the exit statuses of exit_code.hpp. errc::not_available stays
  /// exit_code::not_possible.
  void set_exit_statuses(exit_statuses statuses);
  /// Shorthand for root().add_command().
  command& add_command(std::string name, std::string summary);

  /// Parses, sets up the log, runs the selected command and returns its status. Never throws: a
  /// failure becomes "<program>: <message>" on stderr and the status from to_exit_code(); for a
  /// usage error, a hint to try --help follows. A failed write to stdout also counts as a failure.
  [[nodiscard]] int run(int argc, const char* const* argv);
  /// For tests: `arguments` excludes the program name.
  [[nodiscard]] exit_code run(std::span<const std::string> arguments, std::ostream& out,
                              std::ostream& err);

 private:
  exit_code execute(std::span<const std::string> arguments, std::ostream& out);

  command root_;
  exit_statuses statuses_;
  struct common_options;
  std::unique_ptr<common_options> common_;
};

}  // namespace xenpv::cli
