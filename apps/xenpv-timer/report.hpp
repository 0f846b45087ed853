// What xenpv-timer prints: tables, bars, JSON, and what the reader has to know to judge them.
#pragma once

#include <iosfwd>

#include "xenpv/cli/json.hpp"
#include "xenpv/diag/timer_probe.hpp"

namespace xenpv::timer_app {

void print_tables(std::ostream& out, const diag::timer_report& report);
void print_histograms(std::ostream& out, const diag::timer_report& report);
[[nodiscard]] cli::json to_json(const diag::timer_report& report);
/// To standard error.
void tell_doubts(const diag::timer_report& report);
/// No CPU failed or was refuted.
[[nodiscard]] bool is_good(const diag::timer_report& report);

}  // namespace xenpv::timer_app
