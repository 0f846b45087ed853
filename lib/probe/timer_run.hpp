// The measured part of timer_probe: one loop per method, on the calling thread, with nothing but
// the timer between two clock reads. Does not pin threads or evaluate results.
#pragma once

#include <chrono>

#include "probe/measuring_thread.hpp"
#include "probe/periods.hpp"
#include "probe/timer_probe.hpp"

namespace xenpv::probe {

/// Returns the CLOCK_MONOTONIC time; all methods use this clock.
[[nodiscard]] std::chrono::nanoseconds monotonic_now();

/// Runs until the next due time is at or after `end`, or until `stop` is set. Throws `failure`.
void run_clock_nanosleep(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop);
/// `interval` is the schedule's interval.
void run_timerfd(periods& schedule, std::chrono::nanoseconds interval, std::chrono::nanoseconds end,
                 const stop_flag& stop);
void run_asio(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop);

/// Reads the clock until `end` and adds each interval between two reads to `times`. Rests for a
/// fifth of the time: the kernel throttles SCHED_FIFO threads that never sleep
/// (sched_rt_runtime_us).
void run_spin(fine_histogram& times, gap_facts& gaps, std::chrono::nanoseconds shortest_gap,
              std::chrono::nanoseconds end, const stop_flag& stop);

}  // namespace xenpv::probe
