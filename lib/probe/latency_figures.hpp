// Measured times in the form that reports store and compare: the non-empty histogram steps and the
// percentiles of each round. Pure.
//
// The samples of one run are taken one after another on the same machine, so their number alone
// overstates the accuracy of a percentile. The rounds show how far repeated measurements differ.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/latency_summary.hpp"
#include "xenpv/base/histogram.hpp"

namespace xenpv::probe {

struct latency_step {
  std::uint64_t upper = 0;  ///< largest value in this step, in nanoseconds
  std::uint64_t count = 0;
  friend bool operator==(const latency_step&, const latency_step&) = default;
};

/// One of several measurements of the same quantity. A percentile is set only if there are enough
/// samples.
struct latency_round {
  std::uint64_t samples = 0;
  std::optional<std::uint64_t> p50 = {};
  std::optional<std::uint64_t> p99 = {};
  friend bool operator==(const latency_round&, const latency_round&) = default;
};

struct latency_figures {
  latency_summary summary = {};
  std::vector<latency_step> steps = {};  ///< ascending, without empty steps
  std::vector<latency_round> rounds = {};
  friend bool operator==(const latency_figures&, const latency_figures&) = default;
};

/// Merges the rounds; skips rounds without samples.
[[nodiscard]] latency_figures figures_of(const std::vector<fine_histogram>& rounds);

/// The range in which a percentile lies, according to the samples and the rounds.
struct percentile_range {
  std::uint64_t value = 0;
  std::uint64_t low = 0;
  std::uint64_t high = 0;
};
/// Returns the 99% confidence interval from the binomial ranks of the samples. For p50 and p99, the
/// interval is widened to include the value of each round. Returns nullopt if there are too few
/// samples for the percentile.
[[nodiscard]] std::optional<percentile_range> range_of(const latency_figures& figures,
                                                       double share);

}  // namespace xenpv::probe
