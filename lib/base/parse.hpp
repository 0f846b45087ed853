// Strict parsing of user input: integers, sizes, durations, ratios. The whole text must match;
// white space is not skipped. Errors quote the text and describe the expected form.
#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv {

/// Decimal unsigned integer within [low, high]. Error messages refer to the value as `name`.
[[nodiscard]] result<std::uint64_t> parse_unsigned(
    std::string_view text, std::string_view name, std::uint64_t low = 0,
    std::uint64_t high = std::numeric_limits<std::uint64_t>::max());

/// Parses the whole text as a decimal number. nullopt if it is not a valid number.
template <class Number>
[[nodiscard]] std::optional<Number> parse_whole(std::string_view text) noexcept {
  Number value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Bytes: "4096", "512K", "256M", "10G", "1T"; suffixes are powers of 1024, "KiB" forms accepted.
[[nodiscard]] result<std::uint64_t> parse_size(std::string_view text, std::string_view name);

/// Time: "250us", "0.5s", "1min", "1.5h", "2d"; a unit is required (except for "0"). Fractions must
/// be whole nanoseconds.
[[nodiscard]] result<std::chrono::nanoseconds> parse_duration(std::string_view text,
                                                              std::string_view name);

/// "1/10" -> {1, 10}: `part` out of `whole`. 0 <= part <= whole, whole >= 1.
struct ratio {
  std::uint32_t part = 0;
  std::uint32_t whole = 1;
  friend bool operator==(const ratio&, const ratio&) = default;
};
[[nodiscard]] result<ratio> parse_ratio(std::string_view text, std::string_view name);

/// Splits `text` at each separator. An empty text yields one empty field.
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char separator);

/// Formats a byte count in the largest unit of which it is an exact multiple ("256 MiB", "512 B",
/// "1536 KiB").
[[nodiscard]] std::string format_size(std::uint64_t bytes);

/// Formats a duration with three significant digits: "812 ns", "15.5 us", "1.20 s".
[[nodiscard]] std::string format_duration(std::chrono::nanoseconds value);
/// Like format_duration(), for a number of nanoseconds.
[[nodiscard]] std::string format_nanoseconds(std::uint64_t value);

}  // namespace xenpv
