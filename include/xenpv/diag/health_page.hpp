// A report as one page for a browser: rows, interrupt balance, timers and IPIs. Needs no other
// file, no script and no network; readable on a phone and on paper, in light and dark. Pure.
#pragma once

#include <string>

#include "xenpv/diag/health_report.hpp"

namespace xenpv::diag {

/// A whole HTML document. Names and values of the report may hold anything: they are escaped.
[[nodiscard]] std::string to_html(const health_report& report);

}  // namespace xenpv::diag
