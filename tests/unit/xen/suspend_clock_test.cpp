#include "xenpv/xen/suspend_clock.hpp"

#include <gtest/gtest.h>

namespace xenpv::xen {
namespace {

using namespace std::chrono_literals;

TEST(suspend_clock, does_not_move_while_the_guest_runs) {
  const suspend_clock clock;
  EXPECT_FALSE(clock.has_moved());
  EXPECT_FALSE(clock.has_moved_since(clock.reading()));
}

TEST(suspend_clock, moves_with_a_suspend_until_acknowledged) {
  suspend_clock clock;
  const auto before = clock.reading();
  clock.advance(5ms);
  EXPECT_TRUE(clock.has_moved());
  EXPECT_TRUE(clock.has_moved_since(before));
  const auto after = clock.reading();
  EXPECT_FALSE(clock.has_moved_since(after));
  clock.acknowledge(after);
  EXPECT_FALSE(clock.has_moved());
}

/// A suspend_source whose value is set by the test.
class fake_guest final : public suspend_source {
 public:
  suspend_reading now;
  [[nodiscard]] suspend_reading read() const noexcept override { return now; }
};

TEST(suspend_clock, detects_a_resume_on_a_host_whose_clock_lags) {
  fake_guest guest;
  guest.now = {5s, 3};
  suspend_clock clock(guest);
  const auto before = clock.reading();
  EXPECT_FALSE(clock.has_moved());
  // The new host's clock is behind the old host's, so Linux does not add any suspended time.
  guest.now.incarnation = 4;
  EXPECT_TRUE(clock.has_moved());
  EXPECT_TRUE(clock.has_moved_since(before));
  const auto after = clock.reading();
  EXPECT_TRUE(clock.is_new_incarnation(after));
  EXPECT_FALSE(clock.has_moved_since(after));
  clock.acknowledge(after);
  EXPECT_FALSE(clock.has_moved());
  EXPECT_FALSE(clock.is_new_incarnation(after));
}

TEST(suspend_clock, detects_a_checkpoint_that_keeps_the_incarnation) {
  fake_guest guest;
  suspend_clock clock(guest);
  guest.now.suspended = 2ms;
  EXPECT_TRUE(clock.has_moved());
  EXPECT_FALSE(clock.is_new_incarnation(clock.reading()));
}

TEST(suspend_clock, ignores_jitter) {
  fake_guest guest;
  suspend_clock clock(guest);
  guest.now.suspended = 999us;
  EXPECT_FALSE(clock.has_moved());
  guest.now.suspended = -1h;
  EXPECT_FALSE(clock.has_moved());
}

TEST(suspend_clock, still_reports_a_suspend_after_the_acknowledged_reading) {
  suspend_clock clock;
  const auto first = clock.reading();
  clock.advance(1h);
  clock.acknowledge(first);
  EXPECT_TRUE(clock.has_moved());
}

}  // namespace
}  // namespace xenpv::xen
