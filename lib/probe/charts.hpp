// SVG charts of measured times, for embedding in a page. The page's style sheet sets the colours
// (classes curve0 to curve7, rest, axis, grid, bar, mark). Pure.
#pragma once

#include <string>
#include <vector>

#include "probe/latency_figures.hpp"

namespace xenpv::probe {

struct named_figures {
  std::string name;  ///< "CPU 2"
  const latency_figures* figures = nullptr;
};

/// Draws the cumulative distribution of the samples: one curve per entry, on a logarithmic time
/// axis. The first eight entries have distinct colours.
[[nodiscard]] std::string distribution_svg(const std::vector<named_figures>& all);

/// Draws a histogram of the samples with marks at p50 and p99. `low` and `high` (nanoseconds) are
/// the ends of the time scale, so that several charts can share one scale.
[[nodiscard]] std::string histogram_svg(const named_figures& entry, std::uint64_t low,
                                        std::uint64_t high);

/// The ends of a scale that covers all entries; each is 1, 2 or 5 times a power of ten.
struct time_scale {
  std::uint64_t low = 1;
  std::uint64_t high = 10;
};
[[nodiscard]] time_scale scale_of(const std::vector<named_figures>& all);

}  // namespace xenpv::probe
