#include "xenpv/diag/scheduling.hpp"

#include <gmock/gmock.h>
#include <sched.h>

#include <thread>

#include "xenpv/base/error.hpp"
#include "xenpv/diag/clock_cost.hpp"

namespace xenpv::diag {
namespace {

using namespace std::chrono_literals;

/// What a thread of its own gets: this one's policy stays as it is.
scheduling got(const scheduling_wish& wish) {
  scheduling out;
  std::thread([&] { out = take_scheduling(wish); }).join();
  return out;
}

TEST(scheduling, without_fifo_has_the_slack_that_was_wished_for) {
  const auto how = got({.policy = policy_wish::other, .slack = 7us});
  EXPECT_FALSE(how.is_fifo);
  EXPECT_EQ(how.slack, 7us);
  EXPECT_EQ(how.refused, "");
  EXPECT_EQ(to_string(how), "SCHED_OTHER");
}

TEST(scheduling, of_fifo_is_what_the_kernel_has_or_says_why_not) {
  int policy = -1;
  scheduling how;
  std::thread([&] {
    how = take_scheduling({.priority = 3});
    policy = ::sched_getscheduler(0);
  }).join();
  EXPECT_EQ(policy, how.is_fifo ? SCHED_FIFO : SCHED_OTHER);
  if (how.is_fifo) {
    EXPECT_EQ(to_string(how), "SCHED_FIFO 3");
    EXPECT_EQ(how.slack, 0ns);
  } else {
    EXPECT_EQ(how.refused,
              "SCHED_FIFO 3 is refused (operation not permitted): CAP_SYS_NICE or RLIMIT_RTPRIO is "
              "needed");
  }
}

TEST(scheduling, that_was_insisted_on_is_an_error_when_it_is_refused) {
  // The kernel takes 1 to 99 only, from anybody.
  EXPECT_THROW(take_scheduling({.policy = policy_wish::fifo, .priority = 1000}), failure);
}

TEST(clock_cost, of_a_system_call_is_more_than_of_the_vdso) {
  const auto cost = measure_clock_cost();
  EXPECT_GT(cost.read, 0ns);
  EXPECT_GT(cost.system_call, 0ns);
  EXPECT_TRUE((clock_cost{.read = 25ns, .system_call = 250ns}.is_vdso()));
  EXPECT_FALSE((clock_cost{.read = 240ns, .system_call = 250ns}.is_vdso()));
}

}  // namespace
}  // namespace xenpv::diag
