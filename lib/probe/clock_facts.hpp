// Facts about the guest's timekeeping and stolen time: /proc/stat, clocksource, clockevents,
// /proc/timer_list. Parsers are pure; readers omit unreadable values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::probe {

/// One "cpuN" line of /proc/stat, in ticks of USER_HZ (10 ms).
struct cpu_time {
  unsigned cpu = 0;
  std::uint64_t busy = 0;  ///< user, nice, system, irq, softirq
  std::uint64_t idle = 0;  ///< idle and iowait
  std::uint64_t steal = 0;
  friend bool operator==(const cpu_time&, const cpu_time&) = default;
};
/// Returns one entry per online CPU, ascending. Skips invalid lines.
[[nodiscard]] std::vector<cpu_time> parse_cpu_times(std::string_view stat);
/// Reads /proc/stat. Returns an empty list if it cannot be read.
[[nodiscard]] std::vector<cpu_time> read_cpu_times(const system_root& root);
/// Returns the ticks stolen from all CPUs between two samples. A counter that decreased, as happens
/// in a live migration, adds 0.
[[nodiscard]] std::uint64_t steal_between(const std::vector<cpu_time>& before,
                                          const std::vector<cpu_time>& after);

/// A CPU's clock event device, from /proc/timer_list.
struct timer_device {
  std::optional<unsigned> cpu = {};  ///< unset for the broadcast device
  std::string name = {};             ///< "xen", "lapic-deadline"
  std::optional<std::uint64_t> min_delta_ns = {};
  std::string set_next_event = {};
  std::string event_handler = {};
};
[[nodiscard]] std::vector<timer_device> parse_timer_list(std::string_view text);

struct clock_event {
  unsigned number = 0;      ///< N in clockeventN: the CPU
  std::string device = {};  ///< "xen" is the PV timer
};

struct clock_facts {
  std::optional<std::string> clocksource = {};
  std::vector<std::string> available_clocksources = {};
  std::vector<clock_event> events = {};          ///< one per CPU
  std::vector<timer_device> timer_devices = {};  ///< empty without root
};
[[nodiscard]] clock_facts read_clock_facts(const system_root& root);

}  // namespace xenpv::probe
