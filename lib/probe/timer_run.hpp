// The measured part of timer_probe: one loop for each method, on the calling thread, with nothing
// but the timer between two clock reads. Pins no threads and evaluates no results.
#pragma once

#include <chrono>

#include "probe/measuring_thread.hpp"
#include "probe/periods.hpp"
#include "probe/timer_probe.hpp"

namespace xenpv::probe {

/// The time of CLOCK_MONOTONIC, which all methods use.
[[nodiscard]] std::chrono::nanoseconds monotonic_now();

/// Runs until the next period is due after `end`, or `stop` is set. Throws `failure`.
void run_clock_nanosleep(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop);
/// `interval` is the schedule's interval.
void run_timerfd(periods& schedule, std::chrono::nanoseconds interval, std::chrono::nanoseconds end,
                 const stop_flag& stop);
void run_asio(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop);

/// Reads the clock until `end` and adds each time between two reads to `times`. Rests for a fifth
/// of the time: the kernel throttles SCHED_FIFO threads that never sleep (sched_rt_runtime_us).
void run_spin(fine_histogram& times, gap_facts& gaps, std::chrono::nanoseconds shortest_gap,
              std::chrono::nanoseconds end, const stop_flag& stop);

}  // namespace xenpv::probe
