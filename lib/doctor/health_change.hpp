// The changes from one report to another: before and after work on a guest, or between two guests.
// A figure has changed only if its ranges (probe/latency_figures.hpp) do not overlap, and by more
// than the 5 % that lie between any two runs. Pure.
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
  std::string before = {};  ///< "PASS", "31.2 us (30.1 to 33.0)"; empty: absent
  std::string after = {};
};

struct comparison {
  std::vector<health_change> changes = {};     ///< worse ones first
  unsigned compared = 0;                       ///< figures that both reports have
  unsigned within_noise = 0;                   ///< of the compared figures
  std::vector<std::string> not_compared = {};  ///< with the reasons

  [[nodiscard]] bool got_worse() const noexcept;
};

[[nodiscard]] comparison compare(const health_report& before, const health_report& after);

}  // namespace xenpv::doctor
