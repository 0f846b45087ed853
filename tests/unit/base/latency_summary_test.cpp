#include "base/latency_summary.hpp"

#include <gtest/gtest.h>

namespace xenpv {
namespace {

fine_histogram samples(std::uint64_t count) {
  fine_histogram out;
  for (std::uint64_t i = 1; i <= count; ++i)
    out.add(i);
  return out;
}

TEST(latency_summary, has_only_percentiles_with_ten_samples_beyond_them) {
  EXPECT_FALSE(summary_of(samples(19)).p50);
  EXPECT_TRUE(summary_of(samples(20)).p50);
  EXPECT_FALSE(summary_of(samples(99)).p90);
  EXPECT_TRUE(summary_of(samples(100)).p90);
  EXPECT_FALSE(summary_of(samples(999)).p99);
  EXPECT_TRUE(summary_of(samples(1000)).p99);
  EXPECT_FALSE(summary_of(samples(9999)).p99_9);
  EXPECT_TRUE(summary_of(samples(10000)).p99_9);
}

TEST(latency_summary, covers_all_samples) {
  const auto summary = summary_of(samples(100));
  EXPECT_EQ(summary.samples, 100U);
  EXPECT_EQ(summary.min, 1U);
  EXPECT_EQ(summary.max, 100U);
  EXPECT_DOUBLE_EQ(summary.mean, 50.5);
  EXPECT_EQ(summary.p50, 50U);
  EXPECT_EQ(summary.p90, 90U);
}

TEST(latency_summary, of_no_samples_is_empty) {
  EXPECT_EQ(summary_of({}), latency_summary{});
}

}  // namespace
}  // namespace xenpv
