// The output of xenpv-timer: tables, bar charts, JSON, and warnings.
#pragma once

#include <iosfwd>

#include "cli/json.hpp"
#include "probe/timer_probe.hpp"

namespace xenpv::timer_app {

void print_tables(std::ostream& out, const probe::timer_report& report);
void print_histograms(std::ostream& out, const probe::timer_report& report);
[[nodiscard]] cli::json to_json(const probe::timer_report& report);
/// Prints caveats about the figures to stderr.
void print_warnings(const probe::timer_report& report);
/// True unless the measurement of a CPU failed or was refuted.
[[nodiscard]] bool is_good(const probe::timer_report& report);

}  // namespace xenpv::timer_app
