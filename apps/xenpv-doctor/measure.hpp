// The doctor's short measurement of timers and IPIs. It runs in rounds, so that a report includes
// the noise.
#pragma once

#include <chrono>

#include "doctor/health_report.hpp"

namespace xenpv::doctor_app {

/// Runs for about `duration` with every CPU at 50% load; shows progress on a terminal. The result
/// lists everything that could not be measured.
[[nodiscard]] doctor::measurement measure(std::chrono::nanoseconds duration);

}  // namespace xenpv::doctor_app
