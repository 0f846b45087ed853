// Measures how late this guest's timers are on each vCPU. Threads sleep until absolute times and
// read the clock when they wake. Their lateness covers the whole path from the hypervisor's timer
// through VIRQ_TIMER, the upcall and the guest's scheduler. Also collects the evidence that the PV
// timer woke the threads.
//
// The schedule is fixed before the start, so missed periods are recorded: each one counts as lost,
// and its lateness is included in the figures (no coordinated omission).
//
// Runs anywhere; without Xen, the evidence describes the machine's own timer. Threads: one thread
// per CPU measures, all at the same time, while the calling thread waits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "probe/clock_cost.hpp"
#include "probe/live_figures.hpp"
#include "probe/probe_verdict.hpp"
#include "probe/scheduling.hpp"
#include "probe/trace_split.hpp"
#include "xen/runstate.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::probe {

enum class timer_method {
  clock_nanosleep,  ///< clock_nanosleep(TIMER_ABSTIME) on CLOCK_MONOTONIC
  timerfd,          ///< a periodic timerfd(2) with an absolute start time; waits in read(2)
  asio,             ///< a timer of xenpv's own event loop, which the data path uses
  spin,             ///< no timer: reads the clock continuously and detects gaps
};
[[nodiscard]] std::string_view to_string(timer_method method) noexcept;

/// The state of a running measurement.
struct timer_progress {
  struct cpu_figures {
    unsigned cpu = 0;
    /// Lateness of the wake-ups. For `spin`: intervals between clock reads; the last one is the
    /// longest of 80 ms.
    live_snapshot late = {};
  };
  std::chrono::nanoseconds left{};
  std::vector<cpu_figures> cpus = {};
};

struct timer_probe_options {
  timer_method method = timer_method::clock_nanosleep;
  std::vector<unsigned> cpus = {};  ///< empty: all CPUs that this process may use
  std::chrono::nanoseconds interval{std::chrono::milliseconds{1}};
  std::chrono::nanoseconds duration{std::chrono::seconds{5}};
  scheduling_wish schedule = {};
  /// For `spin`: the shortest gap that is counted.
  std::chrono::nanoseconds gap{std::chrono::microseconds{10}};
  bool split = false;  ///< trace the kernel's timers, which adds overhead; requires root
  system_root root = system_root::from_environment();
  /// Called every 100 ms; returning false ends the measurement early.
  std::function<bool(const timer_progress&)> go_on = {};
};

/// The evidence of which timer fired on one CPU. Deltas are between two snapshots, before and after
/// the measurement.
struct timer_evidence {
  std::string device = {};                            ///< clock event device: "xen", "lapic"
  std::optional<std::uint64_t> min_delta_ns = {};     ///< shortest delay that the device supports
  std::string set_next_event = {};                    ///< "xen_vcpuop_set_next_event"
  std::optional<std::uint64_t> timer_events = {};     ///< delta of row timerN on its own CPU
  std::optional<std::uint64_t> timer_elsewhere = {};  ///< delta on other CPUs; must be 0
  /// Delta of row LOC: interrupts from the (emulated) local APIC timer.
  std::optional<std::uint64_t> local_interrupts = {};
  /// ARM: delta of row arch_timer, the CPU's generic timer, on its own CPU.
  std::optional<std::uint64_t> generic_events = {};
  bool is_arm = false;  ///< ARM has neither a PV timer nor an APIC: the generic timer is right
  [[nodiscard]] bool is_pv_timer() const noexcept { return device == "xen"; }
  [[nodiscard]] bool is_generic_timer() const noexcept { return device == "arch_sys_timer"; }
};

/// For `spin`: the intervals in which the vCPU did not run this thread.
struct gap_facts {
  std::uint64_t count = 0;
  std::chrono::nanoseconds total{};
  std::chrono::nanoseconds looked{};  ///< time spent reading the clock, excluding rests
};

struct timer_result {
  unsigned cpu = 0;
  /// Lateness of all periods in nanoseconds, including lost periods. For `spin`: the intervals
  /// between two clock reads.
  fine_histogram times = {};
  /// Wake-up latency only, as in cyclictest; ignores lost periods.
  fine_histogram wake_times = {};
  std::uint64_t wake_ups = 0;
  std::uint64_t lost = 0;     ///< periods that ended before the previous one was handled
  std::uint64_t warm_up = 0;  ///< uncounted wake-ups
  std::chrono::nanoseconds took{};
  scheduling thread = {};
  timer_evidence evidence = {};
  std::uint64_t steal_ticks = 0;  ///< ticks of 10 ms stolen from this CPU during the measurement
  /// The vCPU's run states during the measurement, from the hypervisor; unset if the hypercall is
  /// not permitted.
  std::optional<xen::vcpu_runstate> runstate = {};
  /// Time during which this thread was runnable while another thread of the guest ran on its CPU
  /// (schedstat).
  std::optional<std::chrono::nanoseconds> waited = {};
  std::optional<timer_split> split = {};
  std::optional<gap_facts> gaps = {};
  probe_verdict verdict = probe_verdict::failed;
  std::vector<std::string> reasons = {};

  /// Wake-ups per second; 0 if nothing was measured.
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
  std::string no_split = {};  ///< why a requested split is missing

  [[nodiscard]] bool was_migrated() const noexcept {
    return incarnation_before != incarnation_after;
  }
};

/// Reports errors that affect only one CPU in that CPU's result. Throws `failure` for a CPU that
/// this process may not use, or if a mandatory policy is refused.
[[nodiscard]] timer_report measure_timers(const timer_probe_options& options);

}  // namespace xenpv::probe
