#include "blkfront/poll_budget.hpp"

#include <gmock/gmock.h>

namespace xenpv::blkfront {
namespace {

/// Turns that do not look before the next one that does.
unsigned sit_out(poll_budget& budget) {
  unsigned turns = 0;
  while (budget.begin() == 0)
    ++turns;
  return turns;
}

TEST(poll_budget, is_off_by_default) {
  poll_budget off;
  EXPECT_FALSE(off.is_on());
  EXPECT_EQ(off.begin(), 0u);
}

TEST(poll_budget, looks_every_time_while_that_pays) {
  poll_budget budget(5000);
  EXPECT_TRUE(budget.is_on());
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(budget.begin(), 5000u);
    budget.hit();
  }
}

TEST(poll_budget, looks_ever_more_rarely_when_it_does_not) {
  poll_budget budget(5000);
  for (const auto turns : {0U, 1U, 3U, 7U, 15U, 31U, 63U, 127U, 255U, 511U, 1023U, 1023U, 1023U}) {
    EXPECT_EQ(sit_out(budget), turns);
    budget.missed();
  }
}

TEST(poll_budget, one_hit_makes_up_for_all_misses) {
  poll_budget budget(5000);
  for (unsigned i = 0; i < 8; ++i) {
    (void)sit_out(budget);
    budget.missed();
  }
  EXPECT_EQ(sit_out(budget), 255u);
  budget.hit();
  EXPECT_EQ(sit_out(budget), 0u);
  budget.missed();
  EXPECT_EQ(sit_out(budget), 1u);
}

}  // namespace
}  // namespace xenpv::blkfront
