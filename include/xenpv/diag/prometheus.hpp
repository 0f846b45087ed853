// A report as metrics in Prometheus' text format, for a file that node_exporter's textfile
// collector reads. Few series: by CPU and kind, never by interrupt, and pairs of CPUs not at all.
// Pure.
#pragma once

#include <string>

#include "xenpv/diag/health_report.hpp"

namespace xenpv::diag {

[[nodiscard]] std::string to_prometheus(const health_report& report);

}  // namespace xenpv::diag
