// The definition of a command as plain data, for the parser and for the code that generates help,
// manual page and completion. Only command.cpp fills it in.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.hpp"

namespace xenpv::cli {

struct option_spec {
  std::string short_name;  ///< "-d" or empty
  std::string long_name;   ///< "--disk"
  std::string value_name;  ///< "SPEC"; empty for a flag
  std::string help;
  std::string by_default;
  bool required = false;
  bool repeated = false;
  std::vector<std::string> words;  ///< all valid values, if the parser knows them
  std::function<void(std::string_view)> accept;

  [[nodiscard]] bool is_flag() const noexcept { return value_name.empty(); }
};

struct argument_spec {
  std::string name;  ///< "DOMAIN"
  std::string help;
  bool required = false;
  bool repeated = false;
  std::vector<std::string> words;  ///< all valid values, if the parser knows them
  std::function<void(std::string_view)> accept;
};

struct rest_spec {
  std::vector<std::string>* target = nullptr;
  command::rest need = command::rest::required;
};

struct example_spec {
  std::string explanation;
  std::string line;
};

/// A section of the manual page with one paragraph for each name.
struct manual_section {
  std::string title;  ///< "FILES"
  std::vector<std::pair<std::string, std::string>> entries;
};

struct command_spec {
  std::string name;  ///< the full path: "xenpv-sim run"
  std::string word;  ///< the last part: "run"
  std::string summary;
  std::vector<std::string> description;
  std::vector<example_spec> examples;
  std::vector<manual_section> sections;
  std::vector<option_spec> options;
  std::vector<argument_spec> arguments;
  std::optional<rest_spec> rest;
  std::vector<std::unique_ptr<command>> commands;
  std::function<exit_code(std::ostream&)> action;
};

/// "xenpv-sim run [OPTIONS] DOMAIN -- COMMAND [ARGUMENT...]"
[[nodiscard]] std::string usage_line(const command_spec& spec);
/// "-d, --disk SPEC"
[[nodiscard]] std::string option_label(const option_spec& option);
/// "DOMAIN", "[DOMAIN]", "DOMAIN..."
[[nodiscard]] std::string argument_label(const argument_spec& argument);
/// The help text followed by the properties of the option: "(default: 5s)", "(required)", "(may be
/// given several times)".
[[nodiscard]] std::string option_help(const option_spec& option);

}  // namespace xenpv::cli
