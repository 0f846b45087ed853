// SVG charts of measured times, to embed in a page. The page's style sheet sets the colours
// (classes curve0 to curve7, axis, grid, bar, mark). Pure.
#pragma once

#include <string>
#include <vector>

#include "probe/latency_figures.hpp"

namespace xenpv::probe {

struct named_figures {
  std::string name;  ///< "CPU 2"
  const latency_figures* figures = nullptr;
};

/// The cumulative distribution of the samples, a curve for each entry; the time axis is
/// logarithmic.
[[nodiscard]] std::string distribution_svg(const std::vector<named_figures>& all);

/// A histogram of the samples, with marks at p50 and p99. `low` and `high` (nanoseconds) are the
/// ends of the scale, so that several charts can share one.
[[nodiscard]] std::string histogram_svg(const named_figures& entry, std::uint64_t low,
                                        std::uint64_t high);

/// The ends of a scale that covers all entries: 1, 2 or 5 times a power of ten.
struct time_scale {
  std::uint64_t low = 1;
  std::uint64_t high = 10;
};
[[nodiscard]] time_scale scale_of(const std::vector<named_figures>& all);

}  // namespace xenpv::probe
