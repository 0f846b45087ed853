#include "base/latency_summary.hpp"

#include <cmath>

namespace xenpv {

bool has_percentile(std::uint64_t samples, double share) noexcept {
  // In binary floating point, 100 * (1 - 0.9) is slightly less than 10.
  const auto beyond = std::floor(static_cast<double>(samples) * (1 - share) + 1e-6);
  return beyond >= static_cast<double>(samples_beyond);
}

latency_summary summary_of(const fine_histogram& times) noexcept {
  const auto percentile = [&](double share) {
    return has_percentile(times.count(), share) ? std::optional(times.percentile(share))
                                                : std::nullopt;
  };
  return {.samples = times.count(),
          .min = times.min(),
          .mean = times.mean(),
          .p50 = percentile(0.5),
          .p90 = percentile(0.9),
          .p99 = percentile(0.99),
          .p99_9 = percentile(0.999),
          .max = times.max()};
}

}  // namespace xenpv
