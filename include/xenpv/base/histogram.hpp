// A histogram of durations or sizes. Each power of two is divided into equal buckets: 16 (about 6%
// resolution) or 128 (under 1%, 34 KiB). Fixed size, no allocation, a few instructions per sample.
// One owner, no locks.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace xenpv {

/// `Steps` is a power of two.
template <unsigned Steps>
class basic_histogram {
  static_assert(std::has_single_bit(Steps));
  static constexpr unsigned step_bits = std::bit_width(Steps) - 1;

 public:
  /// All values from 2^40 (18 minutes in nanoseconds) upwards share the last bucket.
  static constexpr unsigned octaves = 40;
  /// Buckets per power of two.
  static constexpr unsigned steps = Steps;
  /// Number of buckets.
  static constexpr std::size_t buckets = std::size_t{octaves - step_bits + 1} * steps;

  /// Adds one sample.
  void add(std::uint64_t value) noexcept {
    ++counts_[bucket_of(value)];
    ++count_;
    sum_ += value;
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
  }

  /// Adds all samples of `other`.
  void add(const basic_histogram& other) noexcept {
    for (std::size_t i = 0; i < buckets; ++i)
      counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    min_ = std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
  }

  /// The number of samples.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// The sum of all samples; wraps on overflow.
  [[nodiscard]] std::uint64_t sum() const noexcept { return sum_; }
  /// The smallest sample, exactly; 0 if there are no samples.
  [[nodiscard]] std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  /// The largest sample, exactly; 0 if there are no samples.
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }
  /// The exact mean; 0 if there are no samples.
  [[nodiscard]] double mean() const noexcept {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
  }

  /// Returns the smallest sample that at least `share` (0 to 1) of the samples do not exceed,
  /// rounded up to the end of its bucket but at most max(). 0 if there are no samples.
  [[nodiscard]] std::uint64_t percentile(double share) const noexcept {
    if (count_ == 0) return 0;
    const auto rank = std::ceil(share * static_cast<double>(count_));
    const auto target = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(rank));
    std::uint64_t seen = 0;
    // Only max() bounds the last bucket.
    for (std::size_t i = 0; i + 1 < buckets; ++i) {
      seen += counts_[i];
      if (seen >= target) return std::min(upper_bound(i), max_);
    }
    return max_;
  }

  /// The number of samples in `bucket`, which must be less than `buckets`.
  [[nodiscard]] std::uint64_t count_in(std::size_t bucket) const noexcept {
    return counts_[bucket];
  }
  /// The number of samples that do not exceed `value`. Exact if `value` is the upper bound of a
  /// bucket. Otherwise excludes the samples in the bucket of `value`. Never includes the last
  /// bucket, which has no upper bound.
  [[nodiscard]] std::uint64_t count_up_to(std::uint64_t value) const noexcept {
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i + 1 < buckets && upper_bound(i) <= value; ++i)
      seen += counts_[i];
    return seen;
  }
  /// Returns the largest value that falls into `bucket`. Only max() bounds the last bucket.
  [[nodiscard]] static constexpr std::uint64_t upper_bound(std::size_t bucket) noexcept {
    if (bucket < steps) return bucket;
    const auto octave = bucket / steps - 1;
    return ((std::uint64_t{steps} + bucket % steps + 1) << octave) - 1;
  }
  /// Returns the bucket that counts `value`.
  [[nodiscard]] static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < steps) return static_cast<std::size_t>(value);
    const auto octave = static_cast<unsigned>(std::bit_width(value)) - 1 - step_bits;
    const auto bucket = std::size_t{octave + 1} * steps + ((value >> octave) - steps);
    return std::min(bucket, buckets - 1);
  }

 private:
  std::array<std::uint64_t, buckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t min_ = ~std::uint64_t{0};
  std::uint64_t max_ = 0;
};

using histogram = basic_histogram<16>;        ///< for counters that are always on
using fine_histogram = basic_histogram<128>;  ///< for measurements

}  // namespace xenpv
