// The measured part of timer_probe: one loop for each method, on the thread that calls it, with
// nothing but the timer between two looks at the clock. Pins nothing and judges nothing.
#pragma once

#include <chrono>

#include "diag/measuring_thread.hpp"
#include "diag/periods.hpp"
#include "xenpv/diag/timer_probe.hpp"

namespace xenpv::diag {

/// CLOCK_MONOTONIC, which all methods use.
[[nodiscard]] std::chrono::nanoseconds monotonic_now();

/// Until the next period is due after `end`, or `stop` is set. Throws `failure`.
void run_clock_nanosleep(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop);
/// `interval` is the schedule's.
void run_timerfd(periods& schedule, std::chrono::nanoseconds interval, std::chrono::nanoseconds end,
                 const stop_flag& stop);
void run_asio(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop);

/// Looks at the clock until `end`; every time between two looks goes into `times`. Rests a fifth of
/// the time: the kernel throttles SCHED_FIFO threads that never sleep (sched_rt_runtime_us).
void run_spin(fine_histogram& times, gap_facts& gaps, std::chrono::nanoseconds shortest_gap,
              std::chrono::nanoseconds end, const stop_flag& stop);

}  // namespace xenpv::diag
