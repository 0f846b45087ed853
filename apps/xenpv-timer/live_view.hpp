// The figures of a running measurement as lines of text. Pure: measuring.hpp shows them.
#pragma once

#include <string>
#include <vector>

#include "probe/timer_probe.hpp"

namespace xenpv::timer_app {

/// Returns at most `max_lines` lines: the remaining time, a header, and one line per CPU. If there
/// is not enough room for all CPUs, returns those with the highest maximum, and how many there are.
[[nodiscard]] std::vector<std::string> live_lines(const probe::timer_progress& progress,
                                                  std::size_t max_lines);

}  // namespace xenpv::timer_app
