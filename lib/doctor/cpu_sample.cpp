#include "doctor/cpu_sample.hpp"

#include <fmt/format.h>

#include <ctime>

#include "base/words.hpp"
#include "channels/captured.hpp"

namespace xenpv::doctor {
namespace {

constexpr std::string_view interval_name = "interval_ns";

/// Returns the number after `name` at the start of a line.
std::optional<std::int64_t> number_after(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    auto line = next_line(text);
    if (next_word(line) != name) continue;
    const auto word = next_word(line);
    return word ? parse_whole<std::int64_t>(*word) : std::nullopt;
  }
  return std::nullopt;
}

/// Parses "time 2026-11-23T03:04:05Z" in the file that describes a capture.
std::optional<std::int64_t> capture_time(std::string_view about) {
  std::string_view line = about.substr(0, about.find('\n'));
  if (next_word(line) != "time") return std::nullopt;
  std::tm fields{};
  const std::string text(trim(line));
  const char* const end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &fields);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return ::timegm(&fields);
}

}  // namespace

std::string format_cpu_sample(const cpu_sample& sample) {
  auto out = fmt::format("{} {}\n", interval_name, sample.interval.count());
  for (const auto& time : sample.times)
    out += fmt::format("cpu{} {} 0 0 {} 0 0 0 {}\n", time.cpu, time.busy, time.idle, time.steal);
  return out;
}

std::optional<cpu_sample> parse_cpu_sample(std::string_view text) {
  const auto interval = number_after(text, interval_name);
  auto times = probe::parse_cpu_times(text);
  if (!interval || *interval <= 0 || times.empty()) return std::nullopt;
  return cpu_sample{.times = std::move(times), .interval = std::chrono::nanoseconds(*interval)};
}

std::optional<std::chrono::seconds> read_uptime(const system_root& root) {
  if (const auto text = root.read("/proc/uptime"))
    if (const auto whole = parse_whole<std::int64_t>(text->substr(0, text->find('.'))))
      return std::chrono::seconds(*whole);
  const auto start = number_after(root.read("/proc/stat").value_or(""), "btime");
  const auto about = root.read(channels::captured_about);
  if (!start || !about) return std::nullopt;
  const auto end = capture_time(*about);
  if (!end || *end < *start) return std::nullopt;
  return std::chrono::seconds(*end - *start);
}

}  // namespace xenpv::doctor
