// Exports a report as metrics in Prometheus' text format, for a file that node_exporter's textfile
// collector reads. The number of series is small: per CPU and kind, but not per interrupt or pair
// of CPUs. Pure.
#pragma once

#include <string>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {

[[nodiscard]] std::string to_prometheus(const health_report& report);

}  // namespace xenpv::doctor
