#include "probe/timer_probe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <thread>

#include "base/enum_name.hpp"
#include "base/words.hpp"
#include "channels/raw_facts.hpp"
#include "probe/clock_facts.hpp"
#include "probe/timer_evidence.hpp"
#include "probe/timer_run.hpp"
#include "probe/timer_trace.hpp"
#include "xen/cpuid.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using std::chrono::nanoseconds;

/// The number of wake-ups that warm caches and fault in pages.
constexpr std::uint64_t warm_up = 8;

/// Input and output of one CPU's thread.
struct timer_thread {
  timer_result result = {};
  live_figures live;
  std::vector<periods::wake> wakes = {};  ///< for split_wakes()
};

/// Returns the total time that this thread was runnable but waited for its CPU in the guest
/// (Documentation/scheduler/sched-stats).
std::optional<nanoseconds> time_waited() {
  const auto text = system_root("/").read("/proc/thread-self/schedstat").value_or("");
  // Fields: time on the CPU, time waiting for it, number of time slices.
  std::string_view rest = text;
  (void)next_word(rest);
  const auto waited = parse_whole<std::int64_t>(next_word(rest).value_or(""));
  return waited ? std::optional(nanoseconds(*waited)) : std::nullopt;
}

/// Staggers the due times of the CPUs over one interval, so that their timers do not expire
/// together.
nanoseconds first_due(nanoseconds base, nanoseconds interval, std::size_t index,
                      std::size_t cpu_count) {
  const auto phase =
      interval * static_cast<std::int64_t>(index) / static_cast<std::int64_t>(cpu_count);
  const auto elapsed = monotonic_now() - base;
  return base + interval * (elapsed / interval + 2) + phase;
}

void run_periods(const timer_probe_options& options, periods& schedule, nanoseconds end,
                 const stop_flag& stop, live_figures& live) {
  switch (options.method) {
    case timer_method::clock_nanosleep:
      return run_clock_nanosleep(schedule, end, stop, live);
    case timer_method::timerfd:
      return run_timerfd(schedule, options.interval, end, stop, live);
    case timer_method::asio:
      return run_asio(schedule, end, stop, live);
    case timer_method::spin:
      break;
  }
}

/// Returns how many wake-ups to keep for the split: all of them, up to a limit.
std::size_t wakes_to_keep(const timer_probe_options& options) {
  constexpr std::int64_t most = 100'000;
  if (!options.split) return 0;
  return static_cast<std::size_t>(std::min(options.duration / options.interval + 1, most));
}

void measure_here(const timer_probe_options& options, nanoseconds first, const stop_flag& stop,
                  timer_thread& thread) {
  auto& out = thread.result;
  const auto waited_before = time_waited();
  const auto start = monotonic_now();
  if (options.method == timer_method::spin) {
    out.gaps.emplace();
    run_spin(out.times, *out.gaps, options.gap, start + options.duration, stop, thread.live);
    out.took = monotonic_now() - start;
  } else {
    periods schedule(first, options.interval, warm_up, wakes_to_keep(options));
    const auto lead = options.interval * static_cast<std::int64_t>(warm_up);
    run_periods(options, schedule, first + lead + options.duration, stop, thread.live);
    // The first counted period began one interval before it was due.
    out.took = monotonic_now() - (first + lead - options.interval);
    out.times = schedule.lateness();
    out.wake_times = schedule.wake_lateness();
    out.wake_ups = schedule.wake_ups();
    out.lost = schedule.lost();
    out.warm_up = schedule.warmed_up();
    thread.wakes = schedule.kept();
  }
  const auto waited = time_waited();
  if (waited && waited_before) out.waited = *waited - *waited_before;
}

std::vector<unsigned> cpus_of(const timer_probe_options& options) {
  if (options.cpus.empty()) return async::allowed_cpus();
  async::require_allowed(options.cpus);
  return options.cpus;
}

/// The input for the evidence, read at one time.
struct sample {
  channels::reading<channels::interrupt_table> interrupts = {};
  std::vector<cpu_time> times = {};
  std::optional<std::uint32_t> incarnation = {};
  std::map<unsigned, xen::vcpu_runstate> runstates = {};  ///< empty if the hypercall is refused
};

std::map<unsigned, xen::vcpu_runstate> read_runstates(const std::vector<unsigned>& cpus,
                                                      const system_root& root) {
  std::map<unsigned, xen::vcpu_runstate> out;
  try {
    for (const auto cpu : cpus)
      out.emplace(cpu, xen::read_runstate(cpu, root));
  } catch (const failure&) {
    // In ordinary guests, user space cannot make hypercalls; only the steal time is available.
    out.clear();
  }
  return out;
}

sample take_sample(const timer_report& report) {
  const auto& root = report.how.root;
  sample out;
  out.interrupts = channels::read_interrupts(root);
  out.times = read_cpu_times(root);
  if (const auto facts = xen::read_cpuid(report.guest, root)) out.incarnation = facts->incarnation;
  if (report.guest != xen::guest_type::none) out.runstates = read_runstates(report.how.cpus, root);
  return out;
}

void add_counts(const sample& before, const sample& after, timer_result& out) {
  if (before.interrupts.value && after.interrupts.value)
    count_timers(*before.interrupts.value, *after.interrupts.value, out);
  else
    out.reasons.push_back(before.interrupts.problem);
  const auto times_of_cpu = [&](std::vector<cpu_time> times) {
    std::erase_if(times, [&](const cpu_time& time) { return time.cpu != out.cpu; });
    return times;
  };
  out.steal_ticks = steal_between(times_of_cpu(before.times), times_of_cpu(after.times));
  const auto then = before.runstates.find(out.cpu);
  const auto now = after.runstates.find(out.cpu);
  if (then != before.runstates.end() && now != after.runstates.end())
    out.runstate = now->second - then->second;
}

void name_device(const clock_facts& facts, timer_result& out) {
  for (const auto& event : facts.events)
    if (event.number == out.cpu) out.evidence.device = event.device;
  for (const auto& device : facts.timer_devices)
    if (device.cpu == out.cpu) {
      out.evidence.min_delta_ns = device.min_delta_ns;
      out.evidence.set_next_event = device.set_next_event;
    }
}

using workers = std::vector<std::unique_ptr<measuring_thread>>;

timer_progress progress_of(nanoseconds left, const std::vector<timer_thread>& threads) {
  timer_progress out{.left = left};
  for (const auto& thread : threads)
    out.cpus.push_back({.cpu = thread.result.cpu, .late = thread.live.read()});
  return out;
}

/// Waits until `end`. Returns false if options.go_on() or a failed thread ended the wait early.
bool wait_for(const timer_probe_options& options, nanoseconds end, const workers& all,
              const std::vector<timer_thread>& threads) {
  constexpr nanoseconds step = std::chrono::milliseconds(100);
  for (auto now = monotonic_now(); now < end; now = monotonic_now()) {
    for (const auto& worker : all)
      if (worker->has_failed()) return false;
    if (options.go_on && !options.go_on(progress_of(end - now, threads))) return false;
    std::this_thread::sleep_for(std::min(step, end - now));
  }
  return true;
}

/// Measures on all CPUs at the same time. Returns false if the caller ended the measurement early.
/// Throws the exception of a thread.
bool run_all(const timer_probe_options& options, std::vector<timer_thread>& threads) {
  stop_flag stop;
  const auto base = monotonic_now();
  workers all;
  for (std::size_t i = 0; i < threads.size(); ++i) {
    const auto measure = [&, i] {
      const auto first = first_due(base, options.interval, i, threads.size());
      measure_here(options, first, stop, threads[i]);
    };
    all.push_back(
        std::make_unique<measuring_thread>(threads[i].result.cpu, options.schedule, measure));
  }
  const auto lead = options.interval * static_cast<std::int64_t>(warm_up + 2);
  const bool completed = wait_for(options, base + lead + options.duration, all, threads);
  if (!completed) stop.set();
  for (std::size_t i = 0; i < threads.size(); ++i) {
    threads[i].result.thread = all[i]->wait_until_ready();
    all[i]->join();
  }
  return completed;
}

/// Returns the kernel function that these timers run, as named in the trace.
std::string_view timer_function(timer_method method) {
  return method == timer_method::clock_nanosleep ? "hrtimer_wakeup" : "timerfd_tmrproc";
}

void split(timer_trace& trace, timer_method method, std::vector<timer_thread>& threads) {
  const auto interrupts = trace.finish(timer_function(method));
  for (auto& thread : threads) {
    const auto it = interrupts.find(thread.result.cpu);
    thread.result.split =
        split_wakes(thread.wakes, it == interrupts.end() ? std::vector<nanoseconds>() : it->second);
  }
}

/// Starts tracing if it is requested and possible. If it is requested but not possible, sets
/// `why_not` to the reason.
std::unique_ptr<timer_trace> start_trace(const timer_probe_options& options, std::string& why_not) {
  if (!options.split) return nullptr;
  if (options.method == timer_method::spin) {
    why_not = "no timer is used";
    return nullptr;
  }
  // The kernel's own timers roughly double the number of events.
  const auto events = 2 * wakes_to_keep(options) +
                      static_cast<std::uint64_t>(1000 * options.duration / std::chrono::seconds(1));
  try {
    return std::make_unique<timer_trace>(options.root, events);
  } catch (const failure& problem) {
    why_not = problem.what();
    return nullptr;
  }
}

}  // namespace

std::string_view to_string(timer_method method) noexcept {
  return enum_name<timer_method::spin>(method, "clock_nanosleep", "timerfd", "asio", "spin");
}

double timer_result::rate() const noexcept {
  if (took.count() <= 0) return 0;
  return static_cast<double>(wake_ups) * 1e9 / static_cast<double>(took.count());
}

timer_report measure_timers(const timer_probe_options& options) {
  timer_report out{.how = options};
  out.how.cpus = cpus_of(options);
  out.guest = xen::read_guest_facts(options.root).type;
  const auto facts = read_clock_facts(options.root);
  out.clocksource = facts.clocksource.value_or("");
  out.clock = measure_clock_cost();
  std::vector<timer_thread> threads(out.how.cpus.size());
  for (std::size_t i = 0; i < threads.size(); ++i)
    threads[i].result.cpu = out.how.cpus[i];
  const auto trace = start_trace(out.how, out.no_split);
  const auto before = take_sample(out);
  out.ended_early = !run_all(out.how, threads);
  const auto after = take_sample(out);
  if (trace) split(*trace, options.method, threads);
  out.incarnation_before = before.incarnation;
  out.incarnation_after = after.incarnation;
  for (auto& thread : threads) {
    name_device(facts, thread.result);
    add_counts(before, after, thread.result);
    judge_timer(thread.result, options.method, out.guest != xen::guest_type::none);
    if (out.was_migrated()) doubt_migrated(thread.result);
    out.cpus.push_back(std::move(thread.result));
  }
  return out;
}

}  // namespace xenpv::probe
