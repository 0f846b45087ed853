// Renders a report as one HTML page: check results, interrupt balance, timers and IPIs. The page
// requires no other files, scripts or network access. It is readable on a phone and on paper, in
// light and dark mode. Pure.
#pragma once

#include <string>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {

/// Returns a complete HTML document. Escapes all names and values in the report.
[[nodiscard]] std::string to_html(const health_report& report);

}  // namespace xenpv::doctor
