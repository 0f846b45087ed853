// Measured times in the form in which reports keep and compare them: only the steps of the
// histogram that hold samples, and the figures of the rounds it was measured in. Pure.
//
// One run's samples follow each other on one machine, so their number alone makes a percentile look
// surer than it is. The rounds say what happened when the same was measured again.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "xenpv/base/histogram.hpp"
#include "xenpv/base/latency_summary.hpp"

namespace xenpv::diag {

struct latency_step {
  std::uint64_t upper = 0;  ///< nanoseconds; the largest value that counts here
  std::uint64_t count = 0;
  friend bool operator==(const latency_step&, const latency_step&) = default;
};

/// One of several measurements of the same; a percentile only with enough samples.
struct latency_round {
  std::uint64_t samples = 0;
  std::optional<std::uint64_t> p50 = {};
  std::optional<std::uint64_t> p99 = {};
  friend bool operator==(const latency_round&, const latency_round&) = default;
};

struct latency_figures {
  latency_summary summary = {};
  std::vector<latency_step> steps = {};  ///< ascending, without empty ones
  std::vector<latency_round> rounds = {};
  friend bool operator==(const latency_figures&, const latency_figures&) = default;
};

/// Sums up rounds; those without samples are left out.
[[nodiscard]] latency_figures figures_of(const std::vector<fine_histogram>& rounds);

/// Where a percentile lies: what its samples and its rounds leave open.
struct percentile_range {
  std::uint64_t value = 0;
  std::uint64_t low = 0;
  std::uint64_t high = 0;
};
/// 99 % confidence by the binomial ranks of the samples, widened to what the rounds showed (for p50
/// and p99). nullopt with too few samples for the percentile.
[[nodiscard]] std::optional<percentile_range> range_of(const latency_figures& figures,
                                                       double share);

}  // namespace xenpv::diag
