// The measured part of timer_probe: one loop per method, on the calling thread, with nothing but
// the timer between two clock reads. Does not pin threads or evaluate results.
#pragma once

#include <chrono>

#include "probe/live_figures.hpp"
#include "probe/measuring_thread.hpp"
#include "probe/periods.hpp"
#include "probe/timer_probe.hpp"

namespace xenpv::probe {

/// Returns the CLOCK_MONOTONIC time; all methods use this clock.
[[nodiscard]] std::chrono::nanoseconds monotonic_now();

/// Sets `live` to the figures of the wake-ups so far.
void publish(const periods& schedule, live_figures& live) noexcept;

/// Runs until the next due time is at or after `end`, or until `stop` is set. Publishes the figures
/// after each wake-up. Throws `failure`.
void run_clock_nanosleep(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop,
                         live_figures& live);
/// `interval` is the schedule's interval.
void run_timerfd(periods& schedule, std::chrono::nanoseconds interval, std::chrono::nanoseconds end,
                 const stop_flag& stop, live_figures& live);
void run_asio(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop,
              live_figures& live);

/// Reads the clock until `end` and adds each interval between two reads to `times`. Rests for a
/// fifth of the time: the kernel throttles SCHED_FIFO threads that never sleep
/// (sched_rt_runtime_us). Publishes the figures before each rest; the last one is the longest
/// interval since the rest before.
void run_spin(fine_histogram& times, gap_facts& gaps, std::chrono::nanoseconds shortest_gap,
              std::chrono::nanoseconds end, const stop_flag& stop, live_figures& live);

}  // namespace xenpv::probe
