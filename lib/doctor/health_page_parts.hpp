// The chart sections of the doctor's HTML page.
#pragma once

#include <string>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {

/// A bar for each CPU, divided by event kind; empty if there were no events.
[[nodiscard]] std::string balance_section(const event_counts& events);
/// The latency distributions of all CPUs, a histogram for each CPU, and a table of figures.
[[nodiscard]] std::string timer_section(const measurement& measured);
/// A table with the median for each pair of CPUs.
[[nodiscard]] std::string ipi_section(const measurement& measured);

}  // namespace xenpv::doctor
