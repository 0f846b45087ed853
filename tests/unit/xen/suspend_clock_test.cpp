#include "xenpv/xen/suspend_clock.hpp"

#include <gtest/gtest.h>

namespace xenpv::xen {
namespace {

using namespace std::chrono_literals;

TEST(suspend_clock, stands_still_while_the_guest_runs) {
  const suspend_clock clock;
  EXPECT_FALSE(clock.has_moved());
  EXPECT_FALSE(clock.has_moved_since(clock.reading()));
}

TEST(suspend_clock, moves_with_a_suspend_until_that_is_settled) {
  suspend_clock clock;
  const auto before = clock.reading();
  clock.advance(5ms);
  EXPECT_TRUE(clock.has_moved());
  EXPECT_TRUE(clock.has_moved_since(before));
  const auto after = clock.reading();
  EXPECT_FALSE(clock.has_moved_since(after));
  clock.settle(after);
  EXPECT_FALSE(clock.has_moved());
}

TEST(suspend_clock, knows_nothing_of_a_suspend_after_the_reading_that_was_settled) {
  suspend_clock clock;
  const auto first = clock.reading();
  clock.advance(1h);
  clock.settle(first);
  EXPECT_TRUE(clock.has_moved());
}

}  // namespace
}  // namespace xenpv::xen
