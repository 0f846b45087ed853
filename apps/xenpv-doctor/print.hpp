// Prints reports and comparisons as text that fits the terminal (text_columns()): the rows from
// worst to best, each followed by evidence and remedy unless it is PASS.
#pragma once

#include <iosfwd>

#include "cli/json.hpp"
#include "doctor/health_change.hpp"
#include "doctor/health_report.hpp"

namespace xenpv::doctor_app {

/// Prints UNKNOWN rows with the same remedy as one entry. If `show_all` is set, prints each row
/// separately, and also the evidence of PASS rows.
void print_rows(std::ostream& out, const doctor::health_report& report, bool show_all);
/// Prints a table or, if it is wider than the terminal, a paragraph for each change.
void print_changes(std::ostream& out, const doctor::comparison& comparison);
[[nodiscard]] cli::json to_json(const doctor::comparison& comparison);
/// Prints a summary to stderr: the number of rows per verdict, or the number of changes and the
/// comparisons that were not made.
void print_summary(const doctor::health_report& report);
void print_summary(const doctor::comparison& comparison);

}  // namespace xenpv::doctor_app
