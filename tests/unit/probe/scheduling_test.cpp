#include "probe/scheduling.hpp"

#include <gmock/gmock.h>
#include <sched.h>

#include <thread>

#include "probe/clock_cost.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using namespace std::chrono_literals;

/// Calls take_scheduling() on a new thread, because it must not change this thread's policy.
scheduling scheduling_of(const scheduling_wish& request) {
  scheduling out;
  std::thread([&] { out = take_scheduling(request); }).join();
  return out;
}

TEST(scheduling, without_fifo_has_the_requested_slack) {
  const auto result = scheduling_of({.policy = policy_wish::other, .slack = 7us});
  EXPECT_FALSE(result.is_fifo);
  EXPECT_EQ(result.slack, 7us);
  EXPECT_EQ(result.refused, "");
  EXPECT_EQ(to_string(result), "SCHED_OTHER");
}

TEST(scheduling, of_fifo_matches_the_kernel_or_explains_the_refusal) {
  int policy = -1;
  scheduling result;
  std::thread([&] {
    result = take_scheduling({.priority = 3});
    policy = ::sched_getscheduler(0);
  }).join();
  EXPECT_EQ(policy, result.is_fifo ? SCHED_FIFO : SCHED_OTHER);
  if (result.is_fifo) {
    EXPECT_EQ(to_string(result), "SCHED_FIFO 3");
    EXPECT_EQ(result.slack, 0ns);
  } else {
    EXPECT_EQ(result.refused,
              "SCHED_FIFO 3 is refused (operation not permitted): CAP_SYS_NICE or RLIMIT_RTPRIO is "
              "required");
  }
}

TEST(scheduling, that_is_required_fails_when_it_is_refused) {
  // The kernel accepts only priorities 1 to 99, regardless of privileges.
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
}  // namespace xenpv::probe
