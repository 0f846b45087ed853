// The doctor's short measurement of timers and IPIs, in rounds, so that a report knows its own
// noise.
#pragma once

#include <chrono>

#include "xenpv/diag/health_report.hpp"

namespace xenpv::doctor_app {

/// Takes about `duration` and keeps all CPUs half busy meanwhile; shows progress on a terminal.
/// What cannot be measured is said in the result.
[[nodiscard]] diag::measurement measure(std::chrono::nanoseconds duration);

}  // namespace xenpv::doctor_app
