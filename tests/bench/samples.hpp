// Code shared by the benchmarks: percentiles, medians and CPU pinning.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace xenpv::bench {

using clock = std::chrono::steady_clock;

class samples {
 public:
  void add(clock::duration value) {
    values_.push_back(std::chrono::duration_cast<std::chrono::nanoseconds>(value).count());
  }
  /// Returns a percentile of the samples in nanoseconds; `share` is 0.5 for the median.
  [[nodiscard]] double percentile(double share) {
    if (values_.empty()) return 0;
    const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values_.size() - 1));
    std::nth_element(values_.begin(), values_.begin() + at, values_.end());
    return static_cast<double>(values_[static_cast<std::size_t>(at)]);
  }

 private:
  std::vector<std::int64_t> values_;
};

[[nodiscard]] inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

/// Best effort: with a single CPU, the benchmarks still run, but their results mean less.
inline void pin_to_cpu(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

}  // namespace xenpv::bench
