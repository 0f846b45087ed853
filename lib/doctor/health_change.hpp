// Compares two reports, from before and after a change to a guest or from two guests. A figure has
// changed only if its two ranges (probe/latency_figures.hpp) do not overlap and its two values
// differ by more than 5%, which is the noise between any two runs. Pure.
#pragma once

#include <string>
#include <vector>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {

enum class change_sense { worse, better, different };
[[nodiscard]] std::string_view to_string(change_sense sense) noexcept;

struct health_change {
  change_sense sense = change_sense::different;
  std::string what = {};    ///< "row clocksource", "timer of CPU 2, p99"
  std::string before = {};  ///< "PASS", "31.2 us (30.1 to 33.0)"; empty if absent
  std::string after = {};
};

struct comparison {
  std::vector<health_change> changes = {};     ///< sorted by sense, worse first
  unsigned compared = 0;                       ///< number of figures in both reports
  unsigned within_noise = 0;                   ///< number of compared figures that did not change
  std::vector<std::string> not_compared = {};  ///< subjects that were not compared, with the reason

  [[nodiscard]] bool got_worse() const noexcept;
};

[[nodiscard]] comparison compare(const health_report& before, const health_report& after);

}  // namespace xenpv::doctor
