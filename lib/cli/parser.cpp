#include "cli/parser.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/closest_word.hpp"

namespace xenpv::cli {
namespace {

/// Defines `spec` in CLI11. Does not define value types or required options there, because this
/// file reports those errors itself.
void define(CLI::App& app, const command_spec& spec, parsed_line& line) {
  app.set_help_flag();
  app.allow_extras();
  app.fallthrough();
  app.require_subcommand(0, 1);
  for (const auto& option : spec.options) {
    const auto names =
        option.short_name.empty() ? option.long_name : option.short_name + "," + option.long_name;
    if (option.is_flag()) {
      app.add_flag_function(names,
                            [&line, &option](std::int64_t) {
                              line.options.push_back({&option, {""}});
                            })
          ->disable_flag_override();
      continue;
    }
    app.add_option(names, CLI::callback_t([&line, &option](const CLI::results_t& values) {
                     line.options.push_back({&option, values});
                     return true;
                   }))
        ->type_size(1)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
  }
  for (const auto& child : spec.commands)
    define(*app.add_subcommand(child->spec().word), child->spec(), line);
}

std::vector<const command_spec*> selected_path(CLI::App& app, const command_spec& root) {
  std::vector<const command_spec*> path = {&root};
  for (auto* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    const auto& children = path.back()->commands;
    const auto child = std::find_if(children.begin(), children.end(), [&](const auto& c) {
      return c->spec().word == at->get_name();
    });
    path.push_back(&(*child)->spec());
  }
  return path;
}

/// Assigns `words`, in order, to the arguments of the selected commands. Surplus words go to
/// `line.unexpected`.
void assign_arguments(parsed_line& line, std::span<const std::string> words) {
  for (const auto* spec : line.path) {
    for (const auto& argument : spec->arguments) {
      if (words.empty()) return;
      const auto taken = words.first(argument.repeated ? words.size() : 1);
      line.arguments.push_back({&argument, {taken.begin(), taken.end()}});
      words = words.subspan(taken.size());
    }
  }
  line.unexpected.assign(words.begin(), words.end());
}

std::string reword(const CLI::ArgumentMismatch& e) {
  const std::string text = e.what();
  const auto name = text.substr(0, text.find_first_of(": "));
  if (text.find("flag override") != std::string::npos)
    return fmt::format("option --{} takes no value", name);
  return fmt::format("option {} requires a value", name);
}

std::string names_of(const std::vector<std::unique_ptr<command>>& commands) {
  std::vector<std::string_view> words;
  words.reserve(commands.size());
  for (const auto& child : commands)
    words.push_back(child->spec().word);
  return fmt::format("{}", fmt::join(words, ", "));
}

/// Returns "; did you mean 'serve'?" or an empty text.
std::string suggest_command(const command_spec& spec, std::string_view word) {
  std::vector<std::string_view> words;
  for (const auto& child : spec.commands)
    words.emplace_back(child->spec().word);
  return did_you_mean(word, words);
}

/// Compares without the hyphens, which all options have. Makes no suggestion for a short option,
/// whose single letter gives no hint.
std::string suggest_option(const parsed_line& line, std::string_view word) {
  if (word.size() < 3) return {};
  word.remove_prefix(word.find_first_not_of('-') == 1 ? 1 : 2);
  std::vector<std::string_view> names;
  for (const auto* spec : line.path) {
    for (const auto& option : spec->options)
      names.push_back(std::string_view(option.long_name).substr(2));
  }
  const auto closest = closest_word(word, names);
  return closest ? fmt::format("; did you mean '--{}'?", *closest) : std::string();
}

void check_unexpected(const parsed_line& line) {
  const auto& spec = line.selected();
  if (!line.unknown_options.empty()) {
    const auto& given = line.unknown_options.front();
    const auto word = given.substr(0, given.find('='));
    throw usage_error(fmt::format("unknown option '{}'{}", word, suggest_option(line, word)));
  }
  if (line.unexpected.empty()) return;
  const auto& word = line.unexpected.front();
  if (!spec.commands.empty())
    throw usage_error(fmt::format("unknown command '{}' (known: {}{})", word,
                                  names_of(spec.commands), suggest_command(spec, word)));
  throw usage_error(fmt::format("unexpected argument '{}'{}", word,
                                spec.rest ? " (put the command to run after '--')" : ""));
}

void check_options(const parsed_line& line) {
  for (const auto& [option, values] : line.options) {
    if (!option->repeated && values.size() > 1)
      throw usage_error(fmt::format("option {} may be given only once", option->long_name));
  }
  for (const auto* spec : line.path) {
    for (const auto& option : spec->options) {
      if (option.required && !line.has(option.long_name))
        throw usage_error(fmt::format("missing option {} {}", option.long_name, option.value_name));
    }
  }
}

void check_arguments(const parsed_line& line) {
  for (const auto* spec : line.path) {
    for (const auto& argument : spec->arguments) {
      const auto given = std::any_of(line.arguments.begin(), line.arguments.end(),
                                     [&](const auto& g) { return g.argument == &argument; });
      if (argument.required && !given)
        throw usage_error(fmt::format("missing argument {}", argument.name));
    }
  }
  const auto& rest = line.selected().rest;
  if (rest && line.rest.empty() && (rest->need == command::rest::required || line.has_rest))
    throw usage_error("missing command to run after '--'");
}

}  // namespace

bool parsed_line::has(std::string_view long_name) const noexcept {
  return std::any_of(options.begin(), options.end(),
                     [&](const auto& g) { return g.option->long_name == long_name; });
}

std::vector<const command_spec*> find_path(const command_spec& root,
                                           std::span<const std::string> words) {
  std::vector<const command_spec*> path = {&root};
  for (const auto& word : words) {
    for (const auto& child : path.back()->commands) {
      if (child->spec().word != word) continue;
      path.push_back(&child->spec());
      break;
    }
  }
  return path;
}

parsed_line parse_line(const command_spec& root, std::span<const std::string> arguments) {
  parsed_line line;
  // Hide the arguments after "--" from CLI11, which would look for options and commands in them.
  const auto mark = std::find(arguments.begin(), arguments.end(), "--");
  std::vector<std::string> words(arguments.begin(), mark);
  // CLI11 uses the next word as the value of "--name="; by convention, the value is empty.
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("--") || words[i].find('=') != words[i].size() - 1) continue;
    words[i].pop_back();
    words.insert(words.begin() + static_cast<std::ptrdiff_t>(++i), std::string{});
  }

  CLI::App app;
  define(app, root, line);
  std::reverse(words.begin(), words.end());
  try {
    app.parse(std::move(words));
  } catch (const CLI::ArgumentMismatch& e) {
    throw usage_error(reword(e));
  } catch (const CLI::ParseError& e) {
    throw usage_error(e.what());
  }

  line.path = selected_path(app, root);
  std::vector<std::string> free_words;
  for (const auto& word : app.remaining()) {
    const bool is_option = word.size() > 1 && word.starts_with('-');
    (is_option ? line.unknown_options : free_words).push_back(word);
  }
  if (mark != arguments.end()) {
    line.has_rest = line.selected().rest.has_value();
    auto& target = line.has_rest ? line.rest : free_words;
    target.insert(target.end(), std::next(mark), arguments.end());
  }
  assign_arguments(line, free_words);
  return line;
}

void store_values(const parsed_line& line) {
  check_unexpected(line);
  const auto& spec = line.selected();
  if (!spec.action)
    throw usage_error(fmt::format("missing command (one of: {})", names_of(spec.commands)));
  check_options(line);
  check_arguments(line);
  for (const auto& [option, values] : line.options) {
    for (const auto& value : values)
      option->accept(value);
  }
  for (const auto& [argument, values] : line.arguments) {
    for (const auto& value : values)
      argument->accept(value);
  }
  if (spec.rest) *spec.rest->target = line.rest;
}

}  // namespace xenpv::cli
