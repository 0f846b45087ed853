// Parses the command line: CLI11 splits it; this parser checks and stores the result, and produces
// all error messages. It does not print anything; it only reports whether --help or --version was
// given.
#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "cli/command_spec.hpp"

namespace xenpv::cli {

/// The command line does not match the definitions. what() is the message without the program name.
class usage_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct parsed_line {
  struct given_option {
    const option_spec* option;
    std::vector<std::string> values;  ///< one for each occurrence; empty strings for a flag
  };
  struct given_argument {
    const argument_spec* argument;
    std::vector<std::string> values;
  };

  std::vector<const command_spec*> path;  ///< root first, the selected command last; never empty
  std::vector<given_option> options;
  std::vector<given_argument> arguments;
  std::vector<std::string> unknown_options;
  std::vector<std::string> unexpected;  ///< words that do not belong to any argument
  std::vector<std::string> rest;        ///< after "--", if the selected command takes a command
  bool has_rest = false;                ///< "--" was given

  [[nodiscard]] const command_spec& selected() const noexcept { return *path.back(); }
  [[nodiscard]] bool has(std::string_view long_name) const noexcept;
};

/// Returns the commands named by `words`, root first. Skips words that are not commands.
[[nodiscard]] std::vector<const command_spec*> find_path(const command_spec& root,
                                                         std::span<const std::string> words);

/// Throws usage_error for an option that lacks its value or a flag that has a value. The result
/// keeps pointers into `root`.
[[nodiscard]] parsed_line parse_line(const command_spec& root,
                                     std::span<const std::string> arguments);

/// Performs the checks that parse_line() omits, and stores all values. Throws usage_error, or any
/// exception that a value parser throws.
void store_values(const parsed_line& line);

}  // namespace xenpv::cli
