#include "base/parse.hpp"

#include <fmt/format.h>

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

constexpr std::array duration_units = {unit{"ns", 1}, unit{"us", 1'000}, unit{"ms", 1'000'000},
                                       unit{"s", 1'000'000'000}, unit{"min", 60'000'000'000}};

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
  constexpr std::string_view form = "a time with a unit (ns, us, ms, s, min), such as 5ms";
  const auto value =
      parse_with_unit(text, name, form, duration_units.begin(), duration_units.end());
  if (!value) return value.error();
  if (*value > static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count()))
    return expected(name, text, form);
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
