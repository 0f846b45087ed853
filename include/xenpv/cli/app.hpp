// A whole program: its root command, the options all xenpv programs share, and the way from a
// command line to an exit status. Data goes to standard output, words to standard error. Built and
// run in main by one thread; owns its commands, but not the variables their options fill.
#pragma once

#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "xenpv/cli/command.hpp"

namespace xenpv::cli {

/// Statuses of a program whose 0, 1 and 2 are results, as in diff(1) or a monitoring check: failing
/// and being called wrongly then need others, and the manual page says so.
struct exit_statuses {
  struct meaning {
    int status = 0;
    std::string text = {};  ///< a sentence for the manual page
  };
  std::vector<meaning> results = {};
  int failed = 1;
  int usage = 2;
};

/// Every app understands, before or after its sub-command: -h/--help, --version, --log,
/// --log-level; and, unlisted, as its only option: --help-man (manual page in roff), and
/// --long-options, --short-options and --subcommands (one a line, of the named sub-command if there
/// is one) for the shell completion.
class app {
 public:
  app(std::string name, std::string summary);
  ~app();
  app(const app&) = delete;
  app& operator=(const app&) = delete;

  /// Options and arguments given here belong to all commands; an app without sub-commands has only
  /// this.
  [[nodiscard]] command& root() noexcept { return root_; }
  /// In place of those of exit_code.hpp. errc::not_available stays exit_code::not_possible.
  void set_exit_statuses(exit_statuses statuses);
  /// Shorthand for root().add_command().
  command& add_command(std::string name, std::string summary);

  /// Parses, sets up the log, runs the selected command and returns its status. Never throws: a
  /// failure becomes
  /// "<program>: <message>" on standard error and the status to_exit_code gives; a wrong command
  /// line also says where help is. Output that cannot be written is a failure too.
  [[nodiscard]] int run(int argc, const char* const* argv);
  /// The same for tests: `arguments` without the program's name.
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
