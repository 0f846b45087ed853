// What a look at the clock costs here: everything that is measured contains it. With the
// clocksource "xen", or where the hypervisor emulates the time-stamp counter, it may be a system
// call or an exit from the guest.
#pragma once

#include <chrono>

namespace xenpv::diag {

struct clock_cost {
  std::chrono::nanoseconds read{};         ///< clock_gettime(CLOCK_MONOTONIC), median
  std::chrono::nanoseconds system_call{};  ///< the same as a bare system call, median
  /// Answered in user space (vDSO): much cheaper than the system call.
  [[nodiscard]] bool is_vdso() const noexcept { return read * 3 < system_call * 2; }
};

/// On the calling thread; takes a few milliseconds.
[[nodiscard]] clock_cost measure_clock_cost();

}  // namespace xenpv::diag
