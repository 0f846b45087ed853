// How a thread that measures is scheduled: what was wished for and what it really got. With
// SCHED_OTHER, times are also of the guest's own other work, and of the timer slack (prctl(2),
// PR_SET_TIMERSLACK), so whoever reads them has to know.
#pragma once

#include <chrono>
#include <string>

namespace xenpv::diag {

enum class policy_wish {
  automatic,  ///< SCHED_FIFO, or SCHED_OTHER where that is refused
  fifo,       ///< SCHED_FIFO or an error
  other,      ///< SCHED_OTHER
};

struct scheduling_wish {
  policy_wish policy = policy_wish::automatic;
  int priority = 80;                  ///< 1 to 99, of SCHED_FIFO
  std::chrono::nanoseconds slack{1};  ///< of timers under SCHED_OTHER; the least there is
};

struct scheduling {
  bool is_fifo = false;
  int priority = 0;                  ///< of SCHED_FIFO
  std::chrono::nanoseconds slack{};  ///< what timers may be late; 0 under SCHED_FIFO
  std::string refused = {};          ///< why SCHED_FIFO was wished for and is not there
};
/// "SCHED_FIFO 80", "SCHED_OTHER".
[[nodiscard]] std::string to_string(const scheduling& how);

/// Sets the calling thread and says what came of it. Throws `failure` (errc::not_available) when
/// policy_wish::fifo is refused.
scheduling take_scheduling(const scheduling_wish& wish);

}  // namespace xenpv::diag
