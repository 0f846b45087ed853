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

/// A guest whose signs are set by hand.
class pretended_guest final : public suspend_source {
 public:
  suspend_reading now;
  [[nodiscard]] suspend_reading read() const noexcept override { return now; }
};

TEST(suspend_clock, sees_a_resume_on_a_host_whose_clock_lags) {
  pretended_guest guest;
  guest.now = {5s, 3};
  suspend_clock clock(guest);
  const auto before = clock.reading();
  EXPECT_FALSE(clock.has_moved());
  // Linux found the new host's clock behind the old one's, and added nothing.
  guest.now.incarnation = 4;
  EXPECT_TRUE(clock.has_moved());
  EXPECT_TRUE(clock.has_moved_since(before));
  const auto after = clock.reading();
  EXPECT_TRUE(clock.is_new_incarnation(after));
  EXPECT_FALSE(clock.has_moved_since(after));
  clock.settle(after);
  EXPECT_FALSE(clock.has_moved());
  EXPECT_FALSE(clock.is_new_incarnation(after));
}

TEST(suspend_clock, sees_a_checkpoint_that_leaves_the_incarnation_alone) {
  pretended_guest guest;
  suspend_clock clock(guest);
  guest.now.suspended = 2ms;
  EXPECT_TRUE(clock.has_moved());
  EXPECT_FALSE(clock.is_new_incarnation(clock.reading()));
}

TEST(suspend_clock, takes_no_notice_of_jitter) {
  pretended_guest guest;
  suspend_clock clock(guest);
  guest.now.suspended = 999us;
  EXPECT_FALSE(clock.has_moved());
  guest.now.suspended = -1h;
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
