// Prints reports and comparisons as text: one line per row, followed by evidence and remedy unless
// the row is PASS.
#pragma once

#include <iosfwd>

#include "cli/json.hpp"
#include "doctor/health_change.hpp"
#include "doctor/health_report.hpp"

namespace xenpv::doctor_app {

/// `show_all` also prints the evidence of rows that are PASS.
void print_rows(std::ostream& out, const doctor::health_report& report, bool show_all);
void print_changes(std::ostream& out, const doctor::comparison& comparison);
[[nodiscard]] cli::json to_json(const doctor::comparison& comparison);
/// Prints to stderr the number of rows per verdict, or the comparisons that were not made.
void print_summary(const doctor::health_report& report);
void print_summary(const doctor::comparison& comparison);

}  // namespace xenpv::doctor_app
