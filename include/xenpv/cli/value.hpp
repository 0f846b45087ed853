// Parsers for option values that xenpv/base/parse.hpp does not have, and the glue that stores a
// parsed value in a variable, an optional or a list. Used by command.hpp; knows nothing of the
// command line.
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

#include "xenpv/base/error.hpp"
#include "xenpv/base/parse.hpp"

namespace xenpv::cli {

/// Takes the text as it is.
[[nodiscard]] inline result<std::string> as_text(std::string_view text) {
  return std::string(text);
}

/// parse_unsigned within [low, high], cast to Number (an integer or one of the types of
/// base/types.hpp).
template <class Number>
[[nodiscard]] auto whole_number(std::uint64_t low, std::uint64_t high) {
  return [low, high](std::string_view text, std::string_view what) -> result<Number> {
    const auto value = parse_unsigned(text, what, low, high);
    if (!value) return value.error();
    return static_cast<Number>(*value);
  };
}

/// parse_duration within [low, high].
[[nodiscard]] inline auto time_within(std::chrono::nanoseconds low, std::chrono::nanoseconds high) {
  return [low, high](std::string_view text,
                     std::string_view what) -> result<std::chrono::nanoseconds> {
    const auto time = parse_duration(text, what);
    if (!time) return time.error();
    if (*time < low || *time > high)
      return make_error(
          errc::invalid_argument, fmt::format("{} '{}'", what, text),
          fmt::format("expected {} to {}", format_duration(low), format_duration(high)));
    return *time;
  };
}

/// One of a fixed list of words, as in {{"text", log_format::text}, {"json", log_format::json}}.
template <class T>
[[nodiscard]] auto one_of(std::vector<std::pair<std::string, T>> choices) {
  return [choices = std::move(choices)](std::string_view text, std::string_view what) -> result<T> {
    std::string words;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      if (choices[i].first == text) return choices[i].second;
      if (i > 0) words += i + 1 == choices.size() ? " or " : ", ";
      words += choices[i].first;
    }
    return make_error(errc::invalid_argument, fmt::format("{} '{}'", what, text),
                      fmt::format("expected {}", words));
  };
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

/// What an option does with its text: parse it and store the value in `target`, or throw `failure`.
/// `Parse` is called as parse(text, what) or, if it does not take two, as parse(text).
/// `target` must outlive the returned function.
template <class T, class Parse>
[[nodiscard]] std::function<void(std::string_view)> store_in(T& target, std::string what,
                                                             Parse parse) {
  return [&target, what = std::move(what), parse = std::move(parse)](std::string_view text) {
    auto parsed = [&]() -> result<typename value_of<T>::type> {
      if constexpr (std::is_invocable_v<const Parse&, std::string_view, std::string_view>)
        return parse(text, what);
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
