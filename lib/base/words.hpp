// Splits kernel text files into lines, words and numbers without copying. Each next_...() removes
// its result from the front of `text`.
#pragma once

#include <optional>
#include <string_view>

#include "base/parse.hpp"

namespace xenpv {

inline constexpr std::string_view blanks = " \t\r";

[[nodiscard]] constexpr std::string_view trim(std::string_view text) noexcept {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// Returns the first line without its newline.
[[nodiscard]] constexpr std::string_view next_line(std::string_view& text) noexcept {
  const auto end = text.find('\n');
  const auto line = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return line;
}

/// Returns nullopt and leaves `text` unchanged if only blanks are left.
[[nodiscard]] constexpr std::optional<std::string_view> next_word(std::string_view& text) noexcept {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return std::nullopt;
  const auto end = text.find_first_of(blanks, first);
  const auto word = text.substr(first, end == std::string_view::npos ? end : end - first);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end);
  return word;
}

/// "vif0-q12" -> 12; nullopt if the text does not end in a number.
[[nodiscard]] inline std::optional<unsigned> trailing_number(std::string_view text) noexcept {
  const auto last = text.find_last_not_of("0123456789");
  return parse_whole<unsigned>(text.substr(last == std::string_view::npos ? 0 : last + 1));
}

}  // namespace xenpv
