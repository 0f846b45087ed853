#include "cli/command.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "cli/command_spec.hpp"

namespace xenpv::cli {
namespace {

/// Parses "-d, --disk SPEC". The program supplies the text, so an invalid form is a bug.
option_spec parse_names(std::string_view names) {
  option_spec option;
  auto rest = names;
  if (rest.size() > 4 && rest[0] == '-' && rest[1] != '-' && rest.substr(2, 2) == ", ") {
    option.short_name = rest.substr(0, 2);
    rest.remove_prefix(4);
  }
  const auto space = rest.find(' ');
  option.long_name = rest.substr(0, space);
  if (space != std::string_view::npos) option.value_name = rest.substr(space + 1);
  if (!option.long_name.starts_with("--") || option.long_name.size() < 3)
    throw std::logic_error(fmt::format("option '{}' has no --long-name", names));
  return option;
}

}  // namespace

command::command(std::string name, std::string summary) : spec_(std::make_unique<command_spec>()) {
  spec_->word = name.substr(name.find_last_of(' ') + 1);
  spec_->name = std::move(name);
  spec_->summary = std::move(summary);
}

command::~command() = default;

command& command::describe(std::string paragraph) {
  spec_->description.push_back(std::move(paragraph));
  return *this;
}

command& command::example(std::string explanation, std::string line) {
  spec_->examples.push_back({std::move(explanation), std::move(line)});
  return *this;
}

command& command::manual_section(std::string title,
                                 std::vector<std::pair<std::string, std::string>> entries) {
  spec_->sections.push_back({std::move(title), std::move(entries)});
  return *this;
}

command& command::flag(std::string_view names, bool& target, std::string_view help) {
  auto option = parse_names(names);
  option.help = help;
  option.accept = [&target](std::string_view) { target = true; };
  spec_->options.push_back(std::move(option));
  return *this;
}

command& command::add_option(std::string_view names, std::string_view help,
                             std::function<void(std::string_view)> accept, bool repeated,
                             std::vector<std::string> words, const option_traits& traits) {
  auto option = parse_names(names);
  if (option.is_flag()) throw std::logic_error(fmt::format("option '{}' has no VALUE", names));
  option.help = help;
  option.accept = std::move(accept);
  option.repeated = repeated;
  option.words = std::move(words);
  option.required = traits.required;
  option.by_default = traits.by_default;
  if (!option.by_default.empty()) option.accept(option.by_default);
  spec_->options.push_back(std::move(option));
  return *this;
}

command& command::add_argument(std::string_view name, std::string_view help,
                               std::function<void(std::string_view)> accept, bool repeated,
                               std::vector<std::string> words) {
  if (!spec_->arguments.empty() && spec_->arguments.back().repeated)
    throw std::logic_error(fmt::format("argument '{}' follows one that takes all", name));
  argument_spec argument;
  argument.name = bare_name(name);
  argument.help = help;
  argument.required = !name.starts_with('[');
  argument.repeated = repeated;
  argument.accept = std::move(accept);
  argument.words = std::move(words);
  spec_->arguments.push_back(std::move(argument));
  return *this;
}

command& command::takes_command(std::vector<std::string>& target, rest need) {
  spec_->rest = rest_spec{&target, need};
  return *this;
}

command& command::offers_json(bool& target) {
  return flag("--json", target, "print one JSON document instead of text");
}

command& command::add_command(std::string name, std::string summary) {
  spec_->commands.push_back(
      std::make_unique<command>(fmt::format("{} {}", spec_->name, name), std::move(summary)));
  return *spec_->commands.back();
}

command& command::action(std::function<exit_code(std::ostream& out)> run) {
  spec_->action = std::move(run);
  return *this;
}

std::string_view command::long_name(std::string_view names) {
  const auto start = names.find("--");
  if (start == std::string_view::npos) return names;
  return names.substr(start, names.find(' ', start) - start);
}

std::string_view command::bare_name(std::string_view name) {
  if (name.starts_with('[') && name.ends_with(']')) return name.substr(1, name.size() - 2);
  return name;
}

}  // namespace xenpv::cli
