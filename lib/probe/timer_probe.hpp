// Measures how late this guest's timers are on each vCPU. Threads sleep until absolute times and
// read the clock when they wake: the whole path from the hypervisor's timer through VIRQ_TIMER, the
// upcall and the guest's scheduler. Also collects the evidence that the PV timer woke them.
//
// The schedule is fixed before the start, so a missed period is not forgotten: it counts as lost,
// and its lateness is in the figures (no coordinated omission).
//
// Runs anywhere; on a machine without Xen the evidence is about that machine's timer. Thread: the
// calling thread waits; one thread for each CPU measures, all at the same time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "probe/clock_cost.hpp"
#include "probe/probe_verdict.hpp"
#include "probe/scheduling.hpp"
#include "xen/runstate.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::probe {

enum class timer_method {
  clock_nanosleep,  ///< clock_nanosleep(TIMER_ABSTIME) on CLOCK_MONOTONIC
  timerfd,          ///< a periodic timerfd(2) with an absolute start, read(2)
  asio,             ///< a timer of the event loop that xenpv's own data path uses
  spin,             ///< no timer: reads the clock continuously and finds the gaps
};
[[nodiscard]] std::string_view to_string(timer_method method) noexcept;

struct timer_probe_options {
  timer_method method = timer_method::clock_nanosleep;
  std::vector<unsigned> cpus = {};  ///< empty: all CPUs that this process may use
  std::chrono::nanoseconds interval{std::chrono::milliseconds{1}};
  std::chrono::nanoseconds duration{std::chrono::seconds{5}};
  scheduling_wish schedule = {};
  /// The shortest gap that counts, for `spin`.
  std::chrono::nanoseconds gap{std::chrono::microseconds{10}};
  bool split = false;  ///< trace the kernel's timers meanwhile, which costs time; needs root
  system_root root = system_root::from_environment();
  /// Called every 100 ms with the remaining time; false ends the measurement early.
  std::function<bool(std::chrono::nanoseconds left)> go_on = {};
};

/// The source of one CPU's timer events. Increases are between two readings around the measurement.
struct timer_evidence {
  std::string device = {};                            ///< clock event device: "xen", "lapic"
  std::optional<std::uint64_t> min_delta_ns = {};     ///< shortest time it can be set to
  std::string set_next_event = {};                    ///< "xen_vcpuop_set_next_event"
  std::optional<std::uint64_t> timer_events = {};     ///< increase of row timerN on its own CPU
  std::optional<std::uint64_t> timer_elsewhere = {};  ///< and on other CPUs: always 0
  std::optional<std::uint64_t> local_interrupts =
      {};  ///< increase of row LOC: the (emulated) APIC timer
  [[nodiscard]] bool is_pv_timer() const noexcept { return device == "xen"; }
};

/// Lateness in two parts, for the wake-ups that were found in the kernel's trace.
struct timer_split {
  fine_histogram
      hypervisor;        ///< from the due time to the kernel's timer interrupt, upcall included
  fine_histogram guest;  ///< from there until the thread runs again
  std::uint64_t unmatched = 0;
};

/// For `spin`: times in which this vCPU did not run this thread.
struct gap_facts {
  std::uint64_t count = 0;
  std::chrono::nanoseconds total{};
  std::chrono::nanoseconds looked{};  ///< time spent reading the clock; the thread rests at times
};

struct timer_result {
  unsigned cpu = 0;
  /// Lateness in nanoseconds of all periods: wake-ups and lost ones. For `spin`: the time between
  /// two clock reads.
  fine_histogram times = {};
  /// Lateness of the wake-ups alone, as in cyclictest, which ignores lost periods.
  fine_histogram wake_times = {};
  std::uint64_t wake_ups = 0;
  std::uint64_t lost = 0;     ///< periods that were over before the previous one was handled
  std::uint64_t warm_up = 0;  ///< wake-ups before the first one that counts
  std::chrono::nanoseconds took{};
  scheduling thread = {};
  timer_evidence evidence = {};
  std::uint64_t steal_ticks = 0;  ///< of 10 ms, stolen from this CPU meanwhile
  /// The vCPU's run states meanwhile, from the hypervisor; unset where it may not be queried.
  std::optional<xen::vcpu_runstate> runstate = {};
  /// Time this thread was runnable while another ran on its CPU, in the guest (schedstat).
  std::optional<std::chrono::nanoseconds> waited = {};
  std::optional<timer_split> split = {};
  std::optional<gap_facts> gaps = {};
  probe_verdict verdict = probe_verdict::failed;
  std::vector<std::string> reasons = {};

  /// Wake-ups per second; 0 before anything was measured.
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
  std::string no_split = {};  ///< why there is no split although it was requested

  [[nodiscard]] bool was_migrated() const noexcept {
    return incarnation_before != incarnation_after;
  }
};

/// Reports errors of one CPU alone in its result. Throws `failure` for errors that affect all CPUs:
/// one that this process may not use, or a mandatory policy that is refused.
[[nodiscard]] timer_report measure_timers(const timer_probe_options& options);

}  // namespace xenpv::probe
