#include <fmt/format.h>

#include <algorithm>

#include "cli/pages.hpp"
#include "cli/text.hpp"

namespace xenpv::cli {
namespace {

constexpr std::size_t page_width = 80;
constexpr std::size_t max_label_width = 26;

struct entry {
  std::string label;
  std::string help;
};

void add_section(std::string& page, std::string_view title, const std::vector<entry>& entries) {
  if (entries.empty()) return;
  std::size_t column = 0;
  for (const auto& [label, help] : entries) {
    if (display_width(label) <= max_label_width) column = std::max(column, display_width(label));
  }
  column += 4;  // two spaces before and two after the label
  page += fmt::format("\n{}:\n", title);
  for (const auto& [label, help] : entries) {
    auto line = "  " + label;
    if (display_width(line) + 2 > column) {
      page += line + '\n';
      line.clear();
    }
    for (const auto& part : wrap(help, page_width - column)) {
      line.append(column - display_width(line), ' ');
      page += line + part + '\n';
      line.clear();
    }
  }
}

std::vector<entry> option_entries(const command_spec& spec) {
  std::vector<entry> entries;
  for (const auto& option : spec.options) {
    const auto* indent = option.short_name.empty() ? "    " : "";
    entries.push_back({indent + option_label(option), option_help(option)});
  }
  return entries;
}

}  // namespace

std::string usage_line(const command_spec& spec) {
  auto line = spec.name + " [OPTIONS]";
  for (const auto& option : spec.options) {
    if (option.required) line += fmt::format(" {} {}", option.long_name, option.value_name);
  }
  for (const auto& argument : spec.arguments)
    line += ' ' + argument_label(argument);
  if (!spec.commands.empty()) line += spec.action ? " [COMMAND]" : " COMMAND";
  if (spec.rest) {
    const bool optional = spec.rest->need == command::rest::optional;
    line += optional ? " [-- COMMAND [ARGUMENT...]]" : " -- COMMAND [ARGUMENT...]";
  }
  return line;
}

std::string option_label(const option_spec& option) {
  auto label =
      option.short_name.empty() ? option.long_name : option.short_name + ", " + option.long_name;
  if (!option.is_flag()) label += ' ' + option.value_name;
  return label;
}

std::string argument_label(const argument_spec& argument) {
  const auto name = argument.repeated ? argument.name + "..." : argument.name;
  return argument.required ? name : fmt::format("[{}]", name);
}

std::string option_help(const option_spec& option) {
  auto help = option.help;
  if (option.required) help += " (required)";
  if (option.repeated) help += " (may be given several times)";
  if (!option.by_default.empty()) help += fmt::format(" (default: {})", option.by_default);
  return help;
}

std::string help_page(std::span<const command_spec* const> path) {
  const auto& root = *path.front();
  const auto& spec = *path.back();
  auto page = fmt::format("{}: {}\n\nUsage: {}\n", spec.name, spec.summary, usage_line(spec));
  for (const auto& paragraph : spec.description) {
    page += '\n';
    for (const auto& line : wrap(paragraph, page_width))
      page += line + '\n';
  }

  std::vector<entry> entries;
  for (const auto& child : spec.commands)
    entries.push_back({child->spec().word, child->spec().summary});
  add_section(page, "Commands", entries);
  entries.clear();
  for (const auto& argument : spec.arguments)
    entries.push_back({argument_label(argument), argument.help});
  add_section(page, "Arguments", entries);
  for (auto at = path.rbegin(); at != path.rend(); ++at)
    add_section(page, *at == &spec ? "Options" : fmt::format("Options of {}", (*at)->name),
                option_entries(**at));

  if (!spec.examples.empty()) page += "\nExamples:\n";
  for (const auto& [explanation, line] : spec.examples)
    page += fmt::format("  {}:\n    {}\n", explanation, line);
  page += fmt::format("\nThe manual page {}(1) covers all commands.\n", root.name);
  return page;
}

}  // namespace xenpv::cli
