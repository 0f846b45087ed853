#include "xenpv/diag/scheduling.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#include "xenpv/base/error.hpp"

namespace xenpv::diag {
namespace {

constexpr const char* fifo_needs = "CAP_SYS_NICE or RLIMIT_RTPRIO is needed";

/// 0 or an errno.
int try_fifo(int priority) {
  sched_param how{};
  how.sched_priority = priority;
  return ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &how);
}

/// Off SCHED_OTHER the kernel keeps the slack and does not use it.
std::chrono::nanoseconds take_slack(std::chrono::nanoseconds wish) {
  ::prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(wish.count()));
  return std::chrono::nanoseconds(::prctl(PR_GET_TIMERSLACK));
}

}  // namespace

std::string to_string(const scheduling& how) {
  return how.is_fifo ? fmt::format("SCHED_FIFO {}", how.priority) : std::string("SCHED_OTHER");
}

scheduling take_scheduling(const scheduling_wish& wish) {
  scheduling out;
  out.slack = take_slack(wish.slack);
  if (wish.policy == policy_wish::other) return out;
  const int error = try_fifo(wish.priority);
  if (error == 0) {
    out.is_fifo = true;
    out.priority = wish.priority;
    out.slack = {};
    return out;
  }
  if (wish.policy == policy_wish::fifo)
    throw failure(errc::not_available,
                  fmt::format("give a thread SCHED_FIFO priority {}", wish.priority),
                  fmt::format("{}: {}", describe_errno(error), fifo_needs));
  out.refused = fmt::format("SCHED_FIFO {} is refused ({}): {}", wish.priority,
                            describe_errno(error), fifo_needs);
  return out;
}

}  // namespace xenpv::diag
