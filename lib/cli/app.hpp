// A command-line program: its root command, the options common to all xenpv programs, and the steps
// from a command line to an exit status. Data goes to stdout, messages to stderr. Constructed and
// run by one thread, in main; owns its commands, but not the variables that their options set.
#pragma once

#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "cli/command.hpp"
#include "cli/completion.hpp"

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
/// in roff) and, as the first argument, --complete (completion.hpp).
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

  /// Sets the source of the values that completion offers for all options and arguments called
  /// `value_name` in their definitions, such as "DISK". `list` must outlive the app.
  void complete_values(std::string value_name, completion_source list);

  /// Parses, sets up the log, runs the selected command and returns its status. Never throws: a
  /// failure becomes "<program>: <message>" on stderr and the status from to_exit_code(); for a
  /// usage error, a hint to try --help follows. With --log json, it is one line of the log instead,
  /// even if the command line is invalid. A failed write to stdout also counts as a failure.
  [[nodiscard]] int run(int argc, const char* const* argv);
  /// For tests: `arguments` excludes the program name.
  [[nodiscard]] exit_code run(std::span<const std::string> arguments, std::ostream& out,
                              std::ostream& err);

 private:
  exit_code execute(std::span<const std::string> arguments, std::ostream& out);
  /// Writes the reason of a failure to `err`, in the log's format. `hint` may be empty.
  void report(std::ostream& err, std::string_view problem, const std::string& hint) const;

  command root_;
  exit_statuses statuses_;
  completion_sources sources_;
  struct common_options;
  std::unique_ptr<common_options> common_;
};

}  // namespace xenpv::cli
