#include "blkfront/coalescing.hpp"

#include <gmock/gmock.h>

namespace xenpv::blkfront {
namespace {

TEST(event_distance, is_one_with_few_requests_in_flight) {
  for (const std::uint32_t in_flight : {0U, 1U, 2U, 3U})
    EXPECT_EQ(event_distance(in_flight, 1000), 1u) << in_flight;
}

TEST(event_distance, is_at_most_half_of_the_requests_in_flight) {
  EXPECT_EQ(event_distance(4, 1), 2u);
  EXPECT_EQ(event_distance(33, 1), 16u);
  EXPECT_EQ(event_distance(512, 1), 256u);
  EXPECT_EQ(event_distance(512, 0), 256u) << "responses in the same nanosecond";
  EXPECT_EQ(event_distance(0xFFFFFFFF, 0), 32'000u);
}

TEST(event_distance, is_the_number_of_responses_within_the_window) {
  EXPECT_EQ(event_distance(512, 1000), 32u);
  EXPECT_EQ(event_distance(512, 8000), 4u);
  EXPECT_EQ(event_distance(512, 16'001), 1u);
  EXPECT_EQ(event_distance(512, 10'000'000), 1u);
  EXPECT_EQ(event_distance(512, ~std::uint64_t{0}), 1u) << "no responses yet";
}

}  // namespace
}  // namespace xenpv::blkfront
