// The sections of the doctor's page that are pictures, as HTML.
#pragma once

#include <string>

#include "xenpv/diag/health_report.hpp"

namespace xenpv::diag {

/// A bar for each CPU, in parts by kind of event; empty without events.
[[nodiscard]] std::string balance_section(const event_counts& events);
/// Distribution of all CPUs, a histogram of each, and the figures.
[[nodiscard]] std::string timer_section(const measurement& of);
/// Medians from each CPU to each.
[[nodiscard]] std::string ipi_section(const measurement& of);

}  // namespace xenpv::diag
