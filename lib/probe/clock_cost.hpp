// The cost of reading the clock on this machine; every measurement includes this cost. With the
// "xen" clocksource, or if the hypervisor emulates the time-stamp counter, a read may require a
// system call or cause a VM exit.
#pragma once

#include <chrono>

namespace xenpv::probe {

struct clock_cost {
  std::chrono::nanoseconds read{};         ///< clock_gettime(CLOCK_MONOTONIC), median
  std::chrono::nanoseconds system_call{};  ///< the same as a raw system call, median
  /// True if the clock is read in user space (vDSO), which is much cheaper than the system call.
  [[nodiscard]] bool is_vdso() const noexcept { return read * 3 < system_call * 2; }
};

/// Measures on the calling thread; takes a few milliseconds.
[[nodiscard]] clock_cost measure_clock_cost();

}  // namespace xenpv::probe
