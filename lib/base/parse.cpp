#include "base/parse.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace xenpv {
namespace {

error expected(std::string_view name, std::string_view text, std::string_view form) {
  return make_error(errc::invalid_argument, fmt::format("{} '{}'", name, text),
                    fmt::format("expected {}", form));
}

/// Removes the leading digits from `text`. Returns false if there are none or the number overflows.
bool take_digits(std::string_view& text, std::uint64_t& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

struct unit {
  std::string_view name;
  std::uint64_t factor;
};

result<std::uint64_t> parse_with_unit(std::string_view text, std::string_view name,
                                      std::string_view form, const unit* first, const unit* last) {
  auto rest = text;
  std::uint64_t value = 0;
  if (!take_digits(rest, value)) return expected(name, text, form);
  for (; first != last; ++first) {
    if (first->name != rest) continue;
    std::uint64_t scaled = 0;
    if (__builtin_mul_overflow(value, first->factor, &scaled)) return expected(name, text, form);
    return scaled;
  }
  if (value == 0 && rest.empty()) return std::uint64_t{0};
  return expected(name, text, form);
}

constexpr std::array size_units = {unit{"", 1},
                                   unit{"B", 1},
                                   unit{"K", 1ULL << 10},
                                   unit{"KiB", 1ULL << 10},
                                   unit{"k", 1ULL << 10},
                                   unit{"M", 1ULL << 20},
                                   unit{"MiB", 1ULL << 20},
                                   unit{"G", 1ULL << 30},
                                   unit{"GiB", 1ULL << 30},
                                   unit{"T", 1ULL << 40},
                                   unit{"TiB", 1ULL << 40}};

constexpr std::array duration_units = {unit{"ns", 1},
                                       unit{"us", 1'000},
                                       unit{"ms", 1'000'000},
                                       unit{"s", 1'000'000'000},
                                       unit{"min", 60'000'000'000},
                                       unit{"h", 3'600'000'000'000},
                                       unit{"d", 86'400'000'000'000}};

/// Removes a fraction, such as ".25", and returns its digits. Returns nullopt for a point without
/// digits.
std::optional<std::string_view> take_fraction(std::string_view& text) {
  if (!text.starts_with('.')) return std::string_view();
  const auto end = std::min(text.find_first_not_of("0123456789", 1), text.size());
  const auto digits = text.substr(1, end - 1);
  text.remove_prefix(end);
  if (digits.empty()) return std::nullopt;
  return digits;
}

/// Returns the fraction of `whole`, or nullopt if it is not a whole number.
std::optional<std::uint64_t> part_of(std::uint64_t whole, std::string_view digits) {
  std::uint64_t out = 0;
  for (const char digit : digits) {
    const auto value = static_cast<std::uint64_t>(digit - '0');
    if (value != 0 && whole % 10 != 0) return std::nullopt;
    whole /= 10;
    out += value * whole;
  }
  return out;
}

std::optional<std::uint64_t> parse_nanoseconds(std::string_view text) {
  std::uint64_t value = 0;
  if (!take_digits(text, value)) return std::nullopt;
  const auto digits = take_fraction(text);
  if (!digits) return std::nullopt;
  for (const auto& [name, factor] : duration_units) {
    if (name != text) continue;
    const auto part = part_of(factor, *digits);
    std::uint64_t out = 0;
    if (!part || __builtin_mul_overflow(value, factor, &out) ||
        __builtin_add_overflow(out, *part, &out))
      return std::nullopt;
    return out;
  }
  if (value == 0 && digits->empty() && text.empty()) return 0;
  return std::nullopt;
}

}  // namespace

result<std::uint64_t> parse_unsigned(std::string_view text, std::string_view name,
                                     std::uint64_t low, std::uint64_t high) {
  auto rest = text;
  std::uint64_t value = 0;
  if (!take_digits(rest, value) || !rest.empty() || value < low || value > high) {
    const bool bounded = high != std::numeric_limits<std::uint64_t>::max();
    return expected(name, text,
                    bounded ? fmt::format("a whole number from {} to {}", low, high)
                            : fmt::format("a whole number, {} or more", low));
  }
  return value;
}

result<std::uint64_t> parse_size(std::string_view text, std::string_view name) {
  return parse_with_unit(text, name, "bytes with an optional K, M, G or T, such as 256M",
                         size_units.begin(), size_units.end());
}

result<std::chrono::nanoseconds> parse_duration(std::string_view text, std::string_view name) {
  const auto value = parse_nanoseconds(text);
  if (!value || *value > static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count()))
    return expected(name, text, "a time with a unit (ns, us, ms, s, min, h, d), such as 0.5s");
  return std::chrono::nanoseconds(static_cast<std::int64_t>(*value));
}

result<ratio> parse_ratio(std::string_view text, std::string_view name) {
  auto rest = text;
  std::uint64_t part = 0;
  std::uint64_t whole = 0;
  constexpr std::uint64_t limit = std::numeric_limits<std::uint32_t>::max();
  const bool good = take_digits(rest, part) && rest.starts_with('/') &&
                    (rest.remove_prefix(1), take_digits(rest, whole)) && rest.empty() &&
                    whole >= 1 && part <= whole && whole <= limit;
  if (!good) return expected(name, text, "a ratio of at most one, such as 1/10");
  return ratio{static_cast<std::uint32_t>(part), static_cast<std::uint32_t>(whole)};
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> fields;
  for (;;) {
    const auto end = text.find(separator);
    fields.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return fields;
    text.remove_prefix(end + 1);
  }
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::array names = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t step = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && step + 1 < names.size()) {
    bytes /= 1024;
    ++step;
  }
  return fmt::format("{} {}", bytes, names[step]);
}

std::string format_duration(std::chrono::nanoseconds value) {
  constexpr std::array names = {"ns", "us", "ms", "s"};
  auto amount = static_cast<double>(value.count());
  std::size_t step = 0;
  // 999.6 and 9.996 round up to 1000 and 10.00, so the limits are lower by half a unit in the last
  // digit.
  while (std::abs(amount) >= 999.5 && step + 1 < names.size()) {
    amount /= 1000;
    ++step;
  }
  const int decimals = step == 0 || std::abs(amount) >= 99.95 ? 0
                       : std::abs(amount) >= 9.995            ? 1
                                                              : 2;
  return fmt::format("{:.{}f} {}", amount, decimals, names[step]);
}

std::string format_nanoseconds(std::uint64_t value) {
  return format_duration(std::chrono::nanoseconds(value));
}

}  // namespace xenpv
