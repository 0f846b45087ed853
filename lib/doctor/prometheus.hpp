// Exports a report as metrics in the Prometheus text format, for the textfile collector of
// node_exporter. The number of series is small: one per CPU and kind, but not per interrupt or CPU
// pair. Pure.
#pragma once

#include <string>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {

[[nodiscard]] std::string to_prometheus(const health_report& report);

}  // namespace xenpv::doctor
