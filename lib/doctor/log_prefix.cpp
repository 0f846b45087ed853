#include "doctor/log_prefix.hpp"

#include <algorithm>
#include <array>

#include "base/words.hpp"

namespace xenpv::doctor {
namespace {

constexpr std::string_view digits = "0123456789";
/// Searches for the end of a prefix stop here, because logs of captures are not trusted. Longer
/// prefixes are messages that quote another log.
constexpr std::size_t longest_prefix = 110;

/// "   15.479389", or "2024-01-09 23:29:50" from a logger of consoles. Excludes the addresses of
/// call traces, "<ffffffff815d1c2a>", and devices, "0000:00:03.0".
bool is_time(std::string_view text) {
  const auto time = trim(text);
  if (time.empty() || digits.find(time.front()) == std::string_view::npos) return false;
  const bool is_offset = time.find('.') != std::string_view::npos &&
                         time.find_first_not_of("0123456789.") == std::string_view::npos;
  const bool is_date = time.size() >= 19 && time[4] == '-' && time[7] == '-' &&
                       time.find_first_not_of("0123456789-:.TZ ") == std::string_view::npos;
  return is_offset || is_date;
}

/// "<6>", which `dmesg --raw` and serial consoles show.
std::string_view without_level(std::string_view line) {
  const bool has_level = line.size() > 2 && line[0] == '<' && line[2] == '>' &&
                         digits.find(line[1]) != std::string_view::npos;
  return has_level ? line.substr(3) : line;
}

std::string_view without_time(std::string_view line) {
  if (!line.starts_with('[')) return line;
  const auto end = line.substr(0, longest_prefix).find("] ");
  if (end == std::string_view::npos) return line;
  return is_time(line.substr(1, end - 1)) ? line.substr(end + 2) : line;
}

/// Whether a line starts as those of syslog and journalctl do: "Oct 14 05:56:24 ",
/// "2024-01-09T23:29:50+0100 ".
bool starts_with_date(std::string_view line) {
  constexpr auto months =
      std::to_array<std::string_view>({"Jan ", "Feb ", "Mar ", "Apr ", "May ", "Jun ", "Jul ",
                                       "Aug ", "Sep ", "Oct ", "Nov ", "Dec "});
  if (std::ranges::any_of(months, [&](std::string_view name) { return line.starts_with(name); }))
    return true;
  return line.size() > 10 && line[4] == '-' && line[7] == '-' &&
         line.substr(0, 4).find_first_not_of(digits) == std::string_view::npos;
}

std::string_view without_syslog(std::string_view line) {
  constexpr std::string_view kernel = "kernel: ";
  if (line.starts_with(kernel)) return line.substr(kernel.size());
  if (!starts_with_date(line)) return line;
  const auto start = line.substr(0, longest_prefix).find(" kernel: ");
  if (start == std::string_view::npos) return line;
  return line.substr(start + 1 + kernel.size());
}

}  // namespace

std::string_view without_log_prefix(std::string_view line) {
  constexpr int most_rounds = 8;
  for (int round = 0; round < most_rounds; ++round) {
    const auto rest = without_syslog(without_time(without_level(line)));
    if (rest.size() == line.size()) break;
    line = rest;
  }
  return line;
}

}  // namespace xenpv::doctor
