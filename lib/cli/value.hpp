// Parsers for option values in addition to base/parse.hpp, and the function that stores a parsed
// value in a variable, an optional or a list. Used by command.hpp; independent of the command line.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/closest_word.hpp"
#include "base/parse.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::cli {

[[nodiscard]] inline result<std::string> as_text(std::string_view text) {
  return std::string(text);
}

/// Returns a parser that accepts integers within [low, high] and casts them to Number (an integer
/// type or a type from base/types.hpp).
template <class Number>
[[nodiscard]] auto whole_number(std::uint64_t low, std::uint64_t high) {
  return [low, high](std::string_view text, std::string_view name) -> result<Number> {
    const auto value = parse_unsigned(text, name, low, high);
    if (!value) return value.error();
    return static_cast<Number>(*value);
  };
}

/// Returns a parser that accepts durations within [low, high].
[[nodiscard]] inline auto time_within(std::chrono::nanoseconds low, std::chrono::nanoseconds high) {
  return [low, high](std::string_view text,
                     std::string_view name) -> result<std::chrono::nanoseconds> {
    const auto time = parse_duration(text, name);
    if (!time) return time.error();
    if (*time < low || *time > high)
      return make_error(
          errc::invalid_argument, fmt::format("{} '{}'", name, text),
          fmt::format("expected {} to {}", format_duration(low), format_duration(high)));
    return *time;
  };
}

/// A parser that maps a fixed list of words to values. Shell completion offers the words.
template <class T>
class word_parser {
 public:
  explicit word_parser(std::vector<std::pair<std::string, T>> choices)
      : choices_(std::move(choices)) {}

  [[nodiscard]] result<T> operator()(std::string_view text, std::string_view name) const {
    std::string names;
    std::vector<std::string_view> words;
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      if (choices_[i].first == text) return choices_[i].second;
      if (i > 0) names += i + 1 == choices_.size() ? " or " : ", ";
      names += choices_[i].first;
      words.emplace_back(choices_[i].first);
    }
    return make_error(errc::invalid_argument, fmt::format("{} '{}'", name, text),
                      fmt::format("expected {}{}", names, did_you_mean(text, words)));
  }
  [[nodiscard]] std::vector<std::string> words() const {
    std::vector<std::string> out;
    for (const auto& [word, value] : choices_)
      out.push_back(word);
    return out;
  }

 private:
  std::vector<std::pair<std::string, T>> choices_;
};

/// Returns a parser that maps a fixed list of words to values, such as {{"text", log_format::text},
/// {"json", log_format::json}}.
template <class T>
[[nodiscard]] word_parser<T> one_of(std::vector<std::pair<std::string, T>> choices) {
  return word_parser<T>(std::move(choices));
}

/// Returns the words that `parse` accepts, if it knows them; otherwise nothing.
template <class Parse>
[[nodiscard]] std::vector<std::string> words_of(const Parse& parse) {
  if constexpr (requires { parse.words(); })
    return parse.words();
  else
    return {};
}

template <class T>
struct value_of {
  using type = T;
};
template <class T>
struct value_of<std::optional<T>> {
  using type = T;
};
template <class T>
struct value_of<std::vector<T>> {
  using type = T;
};

/// True for a target that takes one value per occurrence of its option.
template <class T>
inline constexpr bool takes_many = false;
template <class T>
inline constexpr bool takes_many<std::vector<T>> = true;

/// Returns the action of an option, which parses the option's text and stores the value in `target`
/// or throws `failure`. Calls parse(text, name) or, if `parse` takes one argument, parse(text).
/// `target` must outlive the returned function.
template <class T, class Parse>
[[nodiscard]] std::function<void(std::string_view)> store_in(T& target, std::string name,
                                                             Parse parse) {
  return [&target, name = std::move(name), parse = std::move(parse)](std::string_view text) {
    auto parsed = [&]() -> result<typename value_of<T>::type> {
      if constexpr (std::is_invocable_v<const Parse&, std::string_view, std::string_view>)
        return parse(text, name);
      else
        return parse(text);
    }();
    if (!parsed) throw failure(parsed.error());
    if constexpr (takes_many<T>)
      target.push_back(std::move(*parsed));
    else
      target = std::move(*parsed);
  };
}

}  // namespace xenpv::cli
