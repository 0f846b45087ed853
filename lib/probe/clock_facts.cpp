#include "probe/clock_facts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/words.hpp"

namespace xenpv::probe {
namespace {

constexpr std::string_view clocksource = "/sys/devices/system/clocksource/clocksource0";
constexpr std::string_view clockevents = "/sys/devices/system/clockevents";

std::optional<cpu_time> parse_cpu_line(std::string_view line) {
  const auto label = next_word(line);
  if (!label || !label->starts_with("cpu")) return std::nullopt;
  const auto cpu = parse_whole<unsigned>(label->substr(3));
  if (!cpu) return std::nullopt;
  // user nice system idle iowait irq softirq steal; steal since Linux 2.6.11.
  std::array<std::uint64_t, 8> fields{};
  for (auto& field : fields) {
    const auto word = next_word(line);
    const auto value = word ? parse_whole<std::uint64_t>(*word) : std::nullopt;
    if (!value) return std::nullopt;
    field = *value;
  }
  return cpu_time{.cpu = *cpu,
                  .busy = fields[0] + fields[1] + fields[2] + fields[5] + fields[6],
                  .idle = fields[3] + fields[4],
                  .steal = fields[7]};
}

/// Returns the value in a line such as "  set_next_event: xen_vcpuop_set_next_event" if its key is
/// `key`.
std::optional<std::string_view> value_after(std::string_view line, std::string_view key) {
  line = trim(line);
  if (!line.starts_with(key)) return std::nullopt;
  line = trim(line.substr(key.size()));
  if (!line.starts_with(':')) return std::nullopt;
  return trim(line.substr(1));
}

void take_timer_line(std::string_view line, std::vector<timer_device>& out) {
  if (const auto name = value_after(line, "Clock Event Device")) {
    out.back().name = std::string(*name);
  } else if (const auto delta = value_after(line, "min_delta_ns")) {
    out.back().min_delta_ns = parse_whole<std::uint64_t>(*delta);
  } else if (const auto next = value_after(line, "set_next_event")) {
    out.back().set_next_event = std::string(*next);
  } else if (const auto handler = value_after(line, "event_handler")) {
    out.back().event_handler = std::string(*handler);
  }
}

}  // namespace

std::vector<cpu_time> parse_cpu_times(std::string_view stat) {
  std::vector<cpu_time> out;
  while (!stat.empty())
    if (const auto time = parse_cpu_line(next_line(stat))) out.push_back(*time);
  return out;
}

std::vector<cpu_time> read_cpu_times(const system_root& root) {
  const auto text = root.read("/proc/stat");
  return text ? parse_cpu_times(*text) : std::vector<cpu_time>();
}

std::uint64_t steal_between(const std::vector<cpu_time>& before,
                            const std::vector<cpu_time>& after) {
  std::uint64_t ticks = 0;
  for (const auto& now : after) {
    const auto then = std::ranges::find(before, now.cpu, &cpu_time::cpu);
    if (then != before.end() && now.steal > then->steal) ticks += now.steal - then->steal;
  }
  return ticks;
}

std::vector<timer_device> parse_timer_list(std::string_view text) {
  std::vector<timer_device> out;
  bool in_device = false;
  while (!text.empty()) {
    const auto line = next_line(text);
    if (const auto mode = value_after(line, "Tick Device")) {
      out.emplace_back();
      in_device = true;
    } else if (in_device) {
      if (const auto cpu = value_after(line, "Per CPU device"))
        out.back().cpu = parse_whole<unsigned>(*cpu);
      take_timer_line(line, out);
    }
  }
  return out;
}

clock_facts read_clock_facts(const system_root& root) {
  clock_facts out;
  out.clocksource = root.read(fmt::format("{}/current_clocksource", clocksource));
  if (const auto text = root.read(fmt::format("{}/available_clocksource", clocksource))) {
    std::string_view rest = *text;
    while (const auto word = next_word(rest))
      out.available_clocksources.emplace_back(*word);
  }
  for (const auto& name : root.names(clockevents)) {
    const auto number = name.starts_with("clockevent")
                            ? parse_whole<unsigned>(std::string_view(name).substr(10))
                            : std::nullopt;
    const auto device = root.read(fmt::format("{}/{}/current_device", clockevents, name));
    if (number && device) out.events.push_back({*number, std::string(trim(*device))});
  }
  std::ranges::sort(out.events, {}, &clock_event::number);
  if (const auto text = root.read("/proc/timer_list")) out.timer_devices = parse_timer_list(*text);
  return out;
}

}  // namespace xenpv::probe
