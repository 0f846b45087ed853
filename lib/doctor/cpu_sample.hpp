// Two samples of the CPUs' times, which show the stolen time over an interval. The counters since
// boot do not show whether time is stolen now, and some kernels break them (checks/steal.cpp).
// Parsers and formatters are pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "probe/clock_facts.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::doctor {

/// The CPUs' times at the end of an interval.
struct cpu_sample {
  std::vector<probe::cpu_time> times = {};
  std::chrono::nanoseconds interval{};  ///< since the first sample
};

/// Formats a sample for a capture: "interval_ns N", then lines as in /proc/stat.
[[nodiscard]] std::string format_cpu_sample(const cpu_sample& sample);
[[nodiscard]] std::optional<cpu_sample> parse_cpu_sample(std::string_view text);

/// Returns the time since boot: from /proc/uptime, or else from the boot time in /proc/stat and the
/// time of the capture. nullopt if neither is known.
[[nodiscard]] std::optional<std::chrono::seconds> read_uptime(const system_root& root);

}  // namespace xenpv::doctor
