// Measured times as pictures to stand inside a page: SVG elements whose colours are the page's
// (classes curve0 to curve7, axis, grid, bar, mark). Pure.
#pragma once

#include <string>
#include <vector>

#include "xenpv/diag/latency_figures.hpp"

namespace xenpv::diag {

struct named_figures {
  std::string name;  ///< "CPU 2"
  const latency_figures* figures = nullptr;
};

/// The share of samples up to each time, a curve for each; the time on a logarithmic scale.
[[nodiscard]] std::string distribution_svg(const std::vector<named_figures>& all);

/// How many samples took how long, with marks at p50 and p99. `low` and `high` (nanoseconds) are
/// the ends of the scale, so that several can be compared.
[[nodiscard]] std::string histogram_svg(const named_figures& of, std::uint64_t low,
                                        std::uint64_t high);

/// The ends of a scale that has all of them: 1, 2 or 5 times a power of ten.
struct time_scale {
  std::uint64_t low = 1;
  std::uint64_t high = 10;
};
[[nodiscard]] time_scale scale_of(const std::vector<named_figures>& all);

}  // namespace xenpv::diag
