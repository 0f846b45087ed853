// How late this guest's timers are, on each vCPU: threads that sleep until absolute times and look
// at the clock when they wake, the whole way from the hypervisor's timer through VIRQ_TIMER, the
// upcall and the guest's scheduler. And what proves that it was the PV timer that woke them.
//
// The schedule is fixed before it starts, so a period that could not be kept is not forgotten: it
// counts as lost, and is in the figures with the time it was late (no coordinated omission).
//
// Runs anywhere; on a machine without Xen the evidence is of that machine's timer. Thread: the
// caller's waits, one thread for each CPU measures, all at the same time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/histogram.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/diag/clock_cost.hpp"
#include "xenpv/diag/probe_verdict.hpp"
#include "xenpv/diag/scheduling.hpp"
#include "xenpv/xen/guest.hpp"
#include "xenpv/xen/runstate.hpp"

namespace xenpv::diag {

enum class timer_method {
  clock_nanosleep,  ///< clock_nanosleep(TIMER_ABSTIME) on CLOCK_MONOTONIC
  timerfd,          ///< a periodic timerfd(2) with an absolute start, read(2)
  asio,             ///< a timer of the event loop that xenpv's own data path runs on
  spin,             ///< no timer: looks at the clock without end and finds the gaps
};
[[nodiscard]] std::string_view to_string(timer_method method) noexcept;

struct timer_probe_options {
  timer_method method = timer_method::clock_nanosleep;
  std::vector<unsigned> cpus = {};  ///< empty: all this process may use
  std::chrono::nanoseconds interval{std::chrono::milliseconds{1}};
  std::chrono::nanoseconds duration{std::chrono::seconds{5}};
  scheduling_wish schedule = {};
  /// Shortest gap that counts as one, for `spin`.
  std::chrono::nanoseconds gap{std::chrono::microseconds{10}};
  bool split = false;  ///< has the kernel trace its timers meanwhile, which costs time; needs root
  system_root root = system_root::from_environment();
  /// Asked every 100 ms with the time that is left; false ends the measurement early.
  std::function<bool(std::chrono::nanoseconds left)> go_on = {};
};

/// What fired the timers of one CPU. "Grew" is between two readings around the measurement.
struct timer_evidence {
  std::string device = {};                            ///< clock event device: "xen", "lapic"
  std::optional<std::uint64_t> min_delta_ns = {};     ///< shortest time it can be set to
  std::string set_next_event = {};                    ///< "xen_vcpuop_set_next_event"
  std::optional<std::uint64_t> timer_events = {};     ///< row timerN grew, on its own CPU
  std::optional<std::uint64_t> timer_elsewhere = {};  ///< and on others: always 0
  std::optional<std::uint64_t> local_interrupts =
      {};  ///< row LOC grew: the (emulated) APIC's timer
  [[nodiscard]] bool is_pv_timer() const noexcept { return device == "xen"; }
};

/// Lateness in two parts, of the wake-ups that could be found in the kernel's trace.
struct timer_split {
  fine_histogram
      hypervisor;        ///< from the due time to the kernel's timer interrupt, upcall included
  fine_histogram guest;  ///< from there to the thread that runs again
  std::uint64_t unmatched = 0;
};

/// Of `spin`: times in which this vCPU did not run this thread.
struct gap_facts {
  std::uint64_t count = 0;
  std::chrono::nanoseconds total{};
  std::chrono::nanoseconds looked{};  ///< time spent looking; the thread rests now and then
};

struct timer_result {
  unsigned cpu = 0;
  /// Nanoseconds late, of all periods: wake-ups and lost ones. Of `spin`: between two looks at the
  /// clock.
  fine_histogram times = {};
  /// Of the wake-ups alone, as cyclictest counts: it forgets the periods that were lost.
  fine_histogram wake_times = {};
  std::uint64_t wake_ups = 0;
  std::uint64_t lost = 0;     ///< periods that were over before the one before them was dealt with
  std::uint64_t warm_up = 0;  ///< wake-ups before the first that counts
  std::chrono::nanoseconds took{};
  scheduling thread = {};
  timer_evidence evidence = {};
  std::uint64_t steal_ticks = 0;  ///< of 10 ms, stolen from this CPU meanwhile
  /// What the hypervisor says this vCPU did meanwhile; unset where it may not be asked.
  std::optional<xen::vcpu_runstate> runstate = {};
  /// Time this thread was ready to run and another ran on its CPU, in the guest (schedstat).
  std::optional<std::chrono::nanoseconds> waited = {};
  std::optional<timer_split> split = {};
  std::optional<gap_facts> gaps = {};
  probe_verdict verdict = probe_verdict::failed;
  std::vector<std::string> reasons = {};

  /// Wake-ups a second; 0 before anything was measured.
  [[nodiscard]] double rate() const noexcept;
};

struct timer_report {
  timer_probe_options how = {};
  std::vector<timer_result> cpus = {};
  xen::guest_type guest = xen::guest_type::none;
  std::string clocksource = {};
  clock_cost clock = {};
  std::optional<std::uint32_t> incarnation_before = {};  ///< see xen::cpuid_facts
  std::optional<std::uint32_t> incarnation_after = {};
  bool ended_early = false;
  std::string no_split = {};  ///< why there is none although it was asked for

  [[nodiscard]] bool was_migrated() const noexcept {
    return incarnation_before != incarnation_after;
  }
};

/// Throws `failure` for what no CPU can do without: one that may not be used, a policy that was
/// insisted on and refused. What goes wrong on one CPU alone is in its result.
[[nodiscard]] timer_report measure_timers(const timer_probe_options& options);

}  // namespace xenpv::diag
