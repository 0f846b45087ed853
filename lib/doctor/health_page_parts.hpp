// The sections of the doctor's page with charts, as HTML.
#pragma once

#include <string>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {

/// A bar for each CPU, divided by kind of event; empty without events.
[[nodiscard]] std::string balance_section(const event_counts& events);
/// The distribution of all CPUs, a histogram of each, and a table of figures.
[[nodiscard]] std::string timer_section(const measurement& measured);
/// A table of medians from each CPU to each other one.
[[nodiscard]] std::string ipi_section(const measurement& measured);

}  // namespace xenpv::doctor
