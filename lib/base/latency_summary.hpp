// Summary statistics of a latency histogram, and the rule for when a percentile is meaningful:
// without enough samples beyond it, a percentile merely equals the maximum. Performs no I/O.
#pragma once

#include <cstdint>
#include <optional>

#include "xenpv/base/histogram.hpp"

namespace xenpv {

/// A percentile is reported only if at least this many samples lie beyond it. Otherwise, a few late
/// samples could move it to the maximum. p50 needs 20 samples, p90 100, p99 1000, p99.9 10000.
inline constexpr std::uint64_t samples_beyond = 10;

[[nodiscard]] bool has_percentile(std::uint64_t samples, double share) noexcept;

/// Times are in nanoseconds. A percentile with too few samples beyond it is unset.
struct latency_summary {
  std::uint64_t samples = 0;
  std::uint64_t min = 0;
  double mean = 0;
  std::optional<std::uint64_t> p50 = {};
  std::optional<std::uint64_t> p90 = {};
  std::optional<std::uint64_t> p99 = {};
  std::optional<std::uint64_t> p99_9 = {};
  std::uint64_t max = 0;
  friend bool operator==(const latency_summary&, const latency_summary&) = default;
};
[[nodiscard]] latency_summary summary_of(const fine_histogram& times) noexcept;

}  // namespace xenpv
