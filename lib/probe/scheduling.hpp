// The scheduling of a measuring thread: the requested policy and the actual one. With SCHED_OTHER,
// times include the guest's own other work and the timer slack (prctl(2), PR_SET_TIMERSLACK), so
// reports must state the policy.
#pragma once

#include <chrono>
#include <string>

namespace xenpv::probe {

enum class policy_wish {
  automatic,  ///< SCHED_FIFO, or SCHED_OTHER if that is refused
  fifo,       ///< SCHED_FIFO or an error
  other,      ///< SCHED_OTHER
};

struct scheduling_wish {
  policy_wish policy = policy_wish::automatic;
  int priority = 80;                  ///< 1 to 99, of SCHED_FIFO
  std::chrono::nanoseconds slack{1};  ///< of timers under SCHED_OTHER; 1 is the minimum
};

struct scheduling {
  bool is_fifo = false;
  int priority = 0;                  ///< of SCHED_FIFO
  std::chrono::nanoseconds slack{};  ///< how late timers may be; 0 under SCHED_FIFO
  std::string refused = {};          ///< why a requested SCHED_FIFO is not in effect
};
/// "SCHED_FIFO 80", "SCHED_OTHER".
[[nodiscard]] std::string to_string(const scheduling& settings);

/// Applies the request to the calling thread and returns the resulting settings. Throws `failure`
/// (errc::not_available) if policy_wish::fifo is refused.
scheduling take_scheduling(const scheduling_wish& request);

}  // namespace xenpv::probe
