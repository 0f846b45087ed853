#include "probe/scheduling.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

constexpr const char* fifo_needs = "CAP_SYS_NICE or RLIMIT_RTPRIO is required";

/// Returns 0 or an errno.
int try_fifo(int priority) {
  sched_param parameters{};
  parameters.sched_priority = priority;
  return ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &parameters);
}

/// The kernel stores the slack under any policy, but uses it only under SCHED_OTHER.
std::chrono::nanoseconds take_slack(std::chrono::nanoseconds request) {
  ::prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(request.count()));
  return std::chrono::nanoseconds(::prctl(PR_GET_TIMERSLACK));
}

}  // namespace

std::string to_string(const scheduling& settings) {
  return settings.is_fifo ? fmt::format("SCHED_FIFO {}", settings.priority)
                          : std::string("SCHED_OTHER");
}

scheduling take_scheduling(const scheduling_wish& request) {
  scheduling out;
  out.slack = take_slack(request.slack);
  if (request.policy == policy_wish::other) return out;
  const int error = try_fifo(request.priority);
  if (error == 0) {
    out.is_fifo = true;
    out.priority = request.priority;
    out.slack = {};
    return out;
  }
  if (request.policy == policy_wish::fifo)
    throw failure(errc::not_available,
                  fmt::format("set SCHED_FIFO priority {} for a thread", request.priority),
                  fmt::format("{}: {}", describe_errno(error), fifo_needs));
  out.refused = fmt::format("SCHED_FIFO {} is refused ({}): {}", request.priority,
                            describe_errno(error), fifo_needs);
  return out;
}

}  // namespace xenpv::probe
