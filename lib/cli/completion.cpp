#include "cli/completion.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "base/utf8.hpp"

namespace xenpv::cli {
namespace {

constexpr std::string_view words_kind = "words\n";
constexpr std::string_view files_kind = "files\n";
constexpr std::string_view directories_kind = "directories\n";
constexpr std::string_view command_kind = "command\n";

/// The meaning of the words before the one to complete.
struct context {
  std::vector<const command_spec*> path = {};  ///< root first
  std::vector<const option_spec*> given = {};  ///< options that have been given
  const option_spec* value_of = nullptr;       ///< the option whose value comes next
  std::size_t arguments = 0;                   ///< number of arguments so far
  bool in_other_command = false;               ///< after "--"
};

const option_spec* find_option(const context& at, std::string_view name) {
  for (const auto* spec : at.path) {
    for (const auto& option : spec->options) {
      if (option.long_name == name || option.short_name == name) return &option;
    }
  }
  return nullptr;
}

const command_spec* find_child(const command_spec& spec, std::string_view word) {
  for (const auto& child : spec.commands) {
    if (child->spec().word == word) return &child->spec();
  }
  return nullptr;
}

void add_option_word(context& at, std::string_view word) {
  const bool is_long = word.starts_with("--");
  const auto equals = is_long ? word.find('=') : std::string_view::npos;
  const auto* option = find_option(at, is_long ? word.substr(0, equals) : word.substr(0, 2));
  if (option == nullptr) return;
  at.given.push_back(option);
  const bool has_value = is_long ? equals != std::string_view::npos : word.size() > 2;
  if (!option->is_flag() && !has_value) at.value_of = option;
}

context read_words(const command_spec& root, std::span<const std::string> words) {
  context at{.path = {&root}};
  for (const auto& word : words) {
    // parse_line() does not take this word as a value either.
    if (word == "--") {
      at.in_other_command = true;
      break;
    }
    if (at.value_of != nullptr) {
      at.value_of = nullptr;
    } else if (word.size() > 1 && word.starts_with('-')) {
      add_option_word(at, word);
    } else if (const auto* child = find_child(*at.path.back(), word);
               child != nullptr && at.arguments == 0) {
      at.path.push_back(child);
    } else {
      ++at.arguments;
    }
  }
  return at;
}

/// A word that no shell needs to quote. Names from xenstore or of files may contain anything.
bool is_plain(std::string_view word) {
  constexpr std::string_view plain = "-_.,:/@%+=";
  return !word.empty() && std::ranges::all_of(word, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           plain.find(c) != std::string_view::npos;
  });
}

class page {
 public:
  /// `prefix` is the part of the word that precedes the value: "--log=".
  page(std::string_view current, std::string_view prefix) : current_(current), prefix_(prefix) {}

  void add(std::string_view word, std::string_view description) {
    const auto whole = fmt::format("{}{}", prefix_, word);
    if (!is_plain(whole) || !whole.starts_with(current_)) return;
    text_ += whole;
    if (!description.empty()) text_ += '\t' + printable(description);
    text_ += '\n';
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string_view current_;
  std::string_view prefix_;
  std::string text_ = std::string(words_kind);
};

/// Completes a value called `name` in the definition.
std::string complete_value(const completion_sources& sources, std::string_view name,
                           const std::vector<std::string>& words, page offered) {
  for (const auto& word : words)
    offered.add(word, "");
  if (!words.empty()) return offered.take();
  if (const auto source = sources.find(name); source != sources.end()) {
    try {
      for (const auto& [word, description] : source->second())
        offered.add(word, description);
    } catch (const std::exception&) {
      // For example without access to xenstore. A message would disturb the command line.
    }
    return offered.take();
  }
  if (name == "FILE" || name == "PATH") return std::string(files_kind);
  if (name == "DIR") return std::string(directories_kind);
  return offered.take();
}

std::string complete_option_name(const context& at, std::string_view current) {
  page offered(current, "");
  // A command also accepts the options of its parents.
  for (auto spec = at.path.rbegin(); spec != at.path.rend(); ++spec) {
    for (const auto& option : (*spec)->options) {
      const bool is_given = std::ranges::find(at.given, &option) != at.given.end();
      if (is_given && !option.repeated) continue;
      offered.add(option.long_name, option.help);
      if (!option.short_name.empty()) offered.add(option.short_name, option.help);
    }
  }
  return offered.take();
}

const argument_spec* next_argument(const context& at) {
  auto left = at.arguments;
  for (const auto* spec : at.path) {
    for (const auto& argument : spec->arguments) {
      if (left == 0 || argument.repeated) return &argument;
      --left;
    }
  }
  return nullptr;
}

std::string complete_word(const context& at, const completion_sources& sources,
                          std::string_view current) {
  page offered(current, "");
  const auto& spec = *at.path.back();
  if (at.arguments == 0) {
    for (const auto& child : spec.commands)
      offered.add(child->spec().word, child->spec().summary);
  }
  if (const auto* argument = next_argument(at))
    return complete_value(sources, argument->name, argument->words, std::move(offered));
  if (spec.rest) offered.add("--", "the command to run follows");
  return offered.take();
}

}  // namespace

std::string completion_page(const command_spec& root, const completion_sources& sources,
                            std::span<const std::string> words) {
  if (words.empty()) return std::string(words_kind);
  const std::string_view current = words.back();
  const auto at = read_words(root, words.first(words.size() - 1));
  if (at.in_other_command) return std::string(at.path.back()->rest ? command_kind : words_kind);
  if (at.value_of != nullptr)
    return complete_value(sources, at.value_of->value_name, at.value_of->words, {current, ""});
  if (!current.starts_with('-')) return complete_word(at, sources, current);
  const auto equals = current.find('=');
  if (equals == std::string_view::npos) return complete_option_name(at, current);
  const auto* option = find_option(at, current.substr(0, equals));
  if (option == nullptr || option->is_flag()) return std::string(words_kind);
  return complete_value(sources, option->value_name, option->words,
                        {current, current.substr(0, equals + 1)});
}

}  // namespace xenpv::cli
