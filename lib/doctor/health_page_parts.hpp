// The chart sections of the doctor's HTML page.
#pragma once

#include <string>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {

/// Renders one bar per CPU, divided by event kind. Returns an empty string if there were no events.
[[nodiscard]] std::string balance_section(const event_counts& events);
/// Renders the latency distributions of all CPUs, one histogram per CPU, and a table of figures.
[[nodiscard]] std::string timer_section(const measurement& measured);
/// Renders a table with the median of each CPU pair.
[[nodiscard]] std::string ipi_section(const measurement& measured);

}  // namespace xenpv::doctor
