// What changed from one report to another: before and after some work on a guest, or between two
// guests. A figure has changed only where its ranges (latency_figures.hpp) do not touch, and by
// more than the 5 % that lie between any two runs. Pure.
#pragma once

#include <string>
#include <vector>

#include "xenpv/diag/health_report.hpp"

namespace xenpv::diag {

enum class change_sense { worse, better, different };
[[nodiscard]] std::string_view to_string(change_sense sense) noexcept;

struct health_change {
  change_sense sense = change_sense::different;
  std::string what = {};    ///< "row clocksource", "timer of CPU 2, p99"
  std::string before = {};  ///< "PASS", "31.2 us (30.1 to 33.0)"; empty: was not there
  std::string after = {};
};

struct comparison {
  std::vector<health_change> changes = {};     ///< worse ones first
  unsigned compared = 0;                       ///< figures that both reports have
  unsigned within_noise = 0;                   ///< of them
  std::vector<std::string> not_compared = {};  ///< and why

  [[nodiscard]] bool got_worse() const noexcept;
};

[[nodiscard]] comparison compare(const health_report& before, const health_report& after);

}  // namespace xenpv::diag
