// Reports and comparisons for people: a line for each row, and below those that are not PASS their
// evidence and what to do.
#pragma once

#include <iosfwd>

#include "xenpv/cli/json.hpp"
#include "xenpv/diag/health_change.hpp"
#include "xenpv/diag/health_report.hpp"

namespace xenpv::doctor_app {

/// `with_all`: evidence below all rows.
void print_rows(std::ostream& out, const diag::health_report& report, bool with_all);
void print_changes(std::ostream& out, const diag::comparison& comparison);
[[nodiscard]] cli::json to_json(const diag::comparison& comparison);
/// To standard error: how many rows of which verdict; what was not compared.
void tell_summary(const diag::health_report& report);
void tell_summary(const diag::comparison& comparison);

}  // namespace xenpv::doctor_app
