// The scheduling of a measuring thread: the requested policy and the actual one. With SCHED_OTHER,
// times include delays caused by other tasks in the guest, and the timer slack (prctl(2),
// PR_SET_TIMERSLACK), so reports must state the policy.
#pragma once

#include <chrono>
#include <string>

namespace xenpv::probe {

enum class policy_wish {
  automatic,  ///< SCHED_FIFO, or SCHED_OTHER if SCHED_FIFO is refused
  fifo,       ///< SCHED_FIFO or an error
  other,      ///< SCHED_OTHER
};

struct scheduling_wish {
  policy_wish policy = policy_wish::automatic;
  int priority = 80;                  ///< SCHED_FIFO priority, 1 to 99
  std::chrono::nanoseconds slack{1};  ///< timer slack under SCHED_OTHER; the minimum is 1 ns
};

struct scheduling {
  bool is_fifo = false;
  int priority = 0;                  ///< SCHED_FIFO priority
  std::chrono::nanoseconds slack{};  ///< timer slack; 0 under SCHED_FIFO
  std::string refused = {};          ///< why a requested SCHED_FIFO is not in effect
};
/// "SCHED_FIFO 80", "SCHED_OTHER".
[[nodiscard]] std::string to_string(const scheduling& settings);

/// Applies the request to the calling thread and returns the resulting settings. Throws `failure`
/// (errc::not_available) if policy_wish::fifo is refused.
scheduling take_scheduling(const scheduling_wish& request);

}  // namespace xenpv::probe
