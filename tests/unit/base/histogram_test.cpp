#include "xenpv/base/histogram.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace xenpv {
namespace {

constexpr auto largest = std::numeric_limits<std::uint64_t>::max();

TEST(histogram, has_one_bucket_per_small_value) {
  for (std::uint64_t value = 0; value < 32; ++value) {
    EXPECT_EQ(histogram::bucket_of(value), value);
    EXPECT_EQ(histogram::upper_bound(value), value);
  }
}

TEST(histogram, divides_each_power_of_two_into_sixteen_steps) {
  struct example {
    std::uint64_t first;
    std::uint64_t last;
    std::size_t bucket;
  };
  const example examples[] = {
      {32, 33, 32},
      {34, 35, 33},
      {62, 63, 47},
      {64, 67, 48},
      {124, 127, 63},
      {1024, 1087, 112},
      {983'040, 1'015'807, 270},
      {(1ULL << 40) - (1ULL << 35), (1ULL << 40) - 1, 591},
  };
  for (const auto& [first, last, bucket] : examples) {
    EXPECT_EQ(histogram::bucket_of(last), bucket);
    EXPECT_EQ(histogram::bucket_of(first), bucket);
    EXPECT_EQ(histogram::upper_bound(bucket), last);
  }
  EXPECT_EQ(histogram::buckets, 592u);
}

TEST(histogram, buckets_have_no_gaps_or_overlaps) {
  for (std::size_t bucket = 0; bucket + 1 < histogram::buckets; ++bucket) {
    const auto last = histogram::upper_bound(bucket);
    ASSERT_EQ(histogram::bucket_of(last), bucket);
    ASSERT_EQ(histogram::bucket_of(last + 1), bucket + 1);
  }
}

TEST(histogram, bucket_is_no_wider_than_a_sixteenth_of_its_values) {
  for (std::size_t bucket = 1; bucket < histogram::buckets; ++bucket) {
    const auto first = histogram::upper_bound(bucket - 1) + 1;
    const auto width = histogram::upper_bound(bucket) - first + 1;
    ASSERT_TRUE(width == 1 || width * 16 <= first) << bucket;
  }
}

TEST(histogram, values_from_two_to_the_fortieth_share_the_last_bucket) {
  EXPECT_EQ(histogram::bucket_of(1ULL << 40), 591u);
  EXPECT_EQ(histogram::bucket_of(largest), 591u);
}

TEST(histogram, fine_histogram_is_accurate_to_one_percent) {
  for (const std::uint64_t value : {127ULL, 128ULL, 1000ULL, 123'456ULL, 999'999'999ULL}) {
    const auto bucket = fine_histogram::bucket_of(value);
    EXPECT_GE(fine_histogram::upper_bound(bucket), value);
    EXPECT_LT(fine_histogram::upper_bound(bucket), value + value / 100 + 1);
    EXPECT_LT(fine_histogram::upper_bound(bucket - 1), value);
  }
  EXPECT_EQ(fine_histogram::bucket_of(255), 255U);
  EXPECT_EQ(fine_histogram::bucket_of(256), 256U);
  EXPECT_EQ(fine_histogram::bucket_of(257), 256U);
  EXPECT_EQ(fine_histogram::bucket_of(1ULL << 40), fine_histogram::buckets - 1);
}

TEST(histogram, empty_histogram_returns_zero) {
  const histogram empty;
  EXPECT_EQ(empty.count(), 0u);
  EXPECT_EQ(empty.sum(), 0u);
  EXPECT_EQ(empty.max(), 0u);
  EXPECT_EQ(empty.mean(), 0.0);
  EXPECT_EQ(empty.percentile(0.99), 0u);
}

TEST(histogram, tracks_count_sum_and_maximum) {
  histogram h;
  for (const auto value : {3u, 1000u, 3u, 0u})
    h.add(value);
  EXPECT_EQ(h.count(), 4u);
  EXPECT_EQ(h.sum(), 1006u);
  EXPECT_EQ(h.max(), 1000u);
  EXPECT_EQ(h.mean(), 251.5);
  EXPECT_EQ(h.count_in(0), 1u);
  EXPECT_EQ(h.count_in(3), 2u);
  EXPECT_EQ(h.count_in(111), 1u);
}

TEST(histogram, percentile_is_the_smallest_sample_covering_the_share) {
  histogram h;
  for (std::uint64_t value = 1; value <= 10; ++value)
    h.add(value);
  EXPECT_EQ(h.percentile(0), 1u);
  EXPECT_EQ(h.percentile(0.1), 1u);
  EXPECT_EQ(h.percentile(0.11), 2u);
  EXPECT_EQ(h.percentile(0.5), 5u);
  EXPECT_EQ(h.percentile(0.9), 9u);
  EXPECT_EQ(h.percentile(1), 10u);
}

TEST(histogram, high_percentile_of_few_samples_is_the_maximum) {
  histogram h;
  for (std::uint64_t value = 1; value <= 10; ++value)
    h.add(value);
  // Nine of ten samples are only 90%.
  EXPECT_EQ(h.percentile(0.95), 10u);
  EXPECT_EQ(h.percentile(0.99), 10u);
}

TEST(histogram, percentile_is_rounded_up_to_the_bucket_end_but_not_above_the_maximum) {
  histogram h;
  h.add(1025);
  h.add(5000);
  EXPECT_EQ(h.percentile(0.5), 1087u);
  EXPECT_EQ(h.percentile(1), 5000u);
}

TEST(histogram, percentile_of_huge_values_is_not_below_them) {
  histogram h;
  h.add(1);
  h.add(1ULL << 41);
  EXPECT_EQ(h.percentile(0.5), 1u);
  EXPECT_EQ(h.percentile(1), 1ULL << 41);
}

TEST(histogram, accepts_the_largest_value) {
  histogram h;
  h.add(largest);
  EXPECT_EQ(h.max(), largest);
  EXPECT_EQ(h.percentile(0), largest);
  EXPECT_EQ(h.percentile(1), largest);
  EXPECT_EQ(h.count_in(591), 1u);
}

TEST(histogram, merging_equals_adding_all_values_to_one) {
  histogram left;
  left.add(10);
  left.add(20);
  histogram right;
  right.add(20);
  right.add(100'000);
  left.add(right);
  EXPECT_EQ(left.count(), 4u);
  EXPECT_EQ(left.sum(), 100'050u);
  EXPECT_EQ(left.max(), 100'000u);
  EXPECT_EQ(left.count_in(10), 1u);
  EXPECT_EQ(left.count_in(20), 2u);
  EXPECT_EQ(left.percentile(0.75), 20u);
  EXPECT_EQ(right.count(), 2u) << "the source must not change";
}

TEST(histogram, merging_an_empty_histogram_has_no_effect) {
  histogram h;
  h.add(7);
  h.add(histogram());
  EXPECT_EQ(h.count(), 1u);
  EXPECT_EQ(h.max(), 7u);
  histogram fresh;
  fresh.add(h);
  EXPECT_EQ(fresh.percentile(1), 7u);
}

TEST(histogram, count_up_to_a_bucket_bound_is_exact) {
  histogram h;
  for (const std::uint64_t value : {0U, 8191U, 8192U, 16'383U, 16'384U})
    h.add(value);
  EXPECT_EQ(h.count_up_to(0), 1U);
  EXPECT_EQ(h.count_up_to(8191), 2U);
  EXPECT_EQ(h.count_up_to(16'383), 4U);
  EXPECT_EQ(h.count_up_to((1ULL << 33) - 1), 5U);
}

TEST(histogram, count_up_to_a_value_inside_a_bucket_excludes_that_bucket) {
  histogram h;
  h.add(1024);  // in the bucket of 1024 to 1087
  EXPECT_EQ(h.count_up_to(1086), 0U);
  EXPECT_EQ(h.count_up_to(1087), 1U);
}

TEST(histogram, count_up_to_any_value_excludes_the_unbounded_bucket) {
  histogram h;
  h.add(5);
  h.add(1ULL << 41);
  EXPECT_EQ(h.count_up_to(largest), 1U);
}

TEST(histogram, every_power_of_two_minus_one_is_a_bucket_bound) {
  for (unsigned bits = 4; bits < histogram::octaves; ++bits) {
    const auto bound = (std::uint64_t{1} << bits) - 1;
    ASSERT_EQ(histogram::upper_bound(histogram::bucket_of(bound)), bound) << bits;
  }
}

TEST(histogram, tracks_the_exact_minimum) {
  histogram one;
  EXPECT_EQ(one.min(), 0U);
  one.add(1'000'003);
  one.add(5'000'000);
  EXPECT_EQ(one.min(), 1'000'003U);
  histogram other;
  one.add(other);
  EXPECT_EQ(one.min(), 1'000'003U);
  other.add(17);
  one.add(other);
  EXPECT_EQ(one.min(), 17U);
}

}  // namespace
}  // namespace xenpv
