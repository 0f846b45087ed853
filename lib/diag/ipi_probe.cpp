#include "xenpv/diag/ipi_probe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <thread>

#include "diag/ipi_run.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/diag/readings.hpp"

namespace xenpv::diag {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::chrono::nanoseconds longest_rest = std::chrono::milliseconds(20);
/// Of wake-ups: with single ones somebody else's IPI would pass for the one that was not needed.
constexpr std::uint32_t smallest_batch = 2;
/// So many in a row, with none kept before: the others will be no better.
constexpr std::uint32_t hopeless = 16;

/// One batch of calls: its times, or why they do not count.
struct batch {
  fine_histogram times = {};
  std::vector<ipi_counts> counts = {};  ///< of the CPUs that are watched
  std::string doubt = {};
  bool counted = false;
};

/// What a series of batches is made of.
struct series {
  std::vector<unsigned> watched = {};  ///< CPUs whose IPIs are counted
  std::uint32_t count = 0;
  std::uint32_t calls = 0;  ///< of one batch
  /// Where each call may fail to send its IPI by itself, fewer at once add up more often.
  bool shrinks = false;
  std::function<void()> start = [] {};  ///< before the first count, and
  std::function<void()> stop = [] {};   ///< after the second
  std::function<void(std::uint32_t calls, fine_histogram& times)> call = {};
  /// Empty when the counts, in the order of `watched`, are what they should be after `calls`.
  std::function<std::string(std::uint32_t calls, const std::vector<ipi_counts>& counts)> doubt = {};
};

struct series_result {
  fine_histogram times = {};
  std::vector<ipi_counts> counts = {};
  std::uint32_t kept = 0;
  std::uint32_t thrown_away = 0;
  std::uint64_t calls = 0;  ///< in kept batches
  bool counted = true;
  std::string reason = {};
};

batch run_batch(const series& what, std::uint32_t calls, const system_root& root) {
  batch out;
  what.start();
  const auto before = read_interrupts(root);
  what.call(calls, out.times);
  const auto after = read_interrupts(root);
  what.stop();
  out.counted = before.value && after.value;
  if (!out.counted) {
    out.doubt = before.problem;
    return out;
  }
  for (const auto cpu : what.watched) {
    out.counts.push_back(ipis_between(*before.value, *after.value, cpu));
    out.counted = out.counted && out.counts.back().is_known();
  }
  out.doubt = out.counted ? what.doubt(calls, out.counts)
                          : std::string("/proc/interrupts has no rows that count IPIs");
  return out;
}

void keep(const batch& one, series_result& out) {
  ++out.kept;
  out.times.add(one.times);
  out.counts.resize(std::max(out.counts.size(), one.counts.size()));
  for (std::size_t i = 0; i < one.counts.size(); ++i) {
    if (out.counts[i].is_known())
      out.counts[i] += one.counts[i];
    else
      out.counts[i] = one.counts[i];
  }
}

/// Until enough calls added up, or it has to be believed that they never will.
series_result run_series(const series& what, const system_root& root) {
  series_result out;
  const std::uint64_t most = 3ULL * what.count + 5ULL * what.calls;
  auto calls = what.calls;
  std::uint64_t made = 0;
  while (out.calls < what.count && made < most) {
    if (out.kept == 0 && out.thrown_away == hopeless) break;
    const auto start = clock::now();
    made += calls;
    const auto one = run_batch(what, calls, root);
    if (one.doubt.empty() || !one.counted) {
      keep(one, out);
      out.calls += calls;
    } else {
      ++out.thrown_away;
      if (what.shrinks) calls = std::max(calls / 2, std::min(smallest_batch, what.calls));
    }
    if (!one.doubt.empty()) out.reason = one.doubt;
    out.counted = out.counted && one.counted;
    // The kernel throttles SCHED_FIFO threads that use more than 95 % of a CPU.
    std::this_thread::sleep_for((clock::now() - start) / 8);
  }
  return out;
}

probe_verdict verdict_of(const series_result& of) {
  if (of.kept == 0) return probe_verdict::refuted;
  return of.counted ? probe_verdict::verified : probe_verdict::unverified;
}

/// What both kinds of result have of a series.
template <class Result>
void take(const series_result& of, Result& out) {
  out.times = of.times;
  out.kept = of.kept;
  out.thrown_away = of.thrown_away;
  out.calls = of.calls;
  out.verdict = verdict_of(of);
  out.reason = of.reason;
}

/// Where none is to be sent, a few of somebody else's do no harm.
std::string doubt_baseline(std::uint64_t calls, const ipi_counts& here, unsigned cpu) {
  if (here.wakes() < calls / 2 + 2) return {};
  return fmt::format("CPU {} counted {} IPIs where none was to be sent", cpu, here.wakes());
}

/// Spinning on all CPUs but the caller's, for as long as a batch takes.
class spinners {
 public:
  spinners(const std::vector<unsigned>& cpus, const ipi_probe_options& how)
      : patience_(how.patience), cpus_(cpus) {
    for (const auto cpu : cpus)
      all_.push_back(std::make_unique<spinner>(cpu, how.schedule));
  }
  void start() {
    for (std::size_t i = 0; i < all_.size(); ++i)
      if (!all_[i]->spin(patience_))
        throw failure(
            errc::timed_out,
            fmt::format("wait {} ms for a thread to run on CPU {}", patience_.count(), cpus_[i]),
            "another one with a higher priority has that CPU");
  }
  void stop() {
    for (auto& each : all_)
      each->rest();
  }

 private:
  std::chrono::milliseconds patience_;
  std::vector<unsigned> cpus_;
  std::vector<std::unique_ptr<spinner>> all_;
};

/// The thread on the other side: answers each wake-up with one.
class answerer {
 public:
  answerer(unsigned cpu, const ipi_probe_options& how, wake_line& mine, wake_line& theirs)
      : mine_(mine), thread_([this, cpu, how, &theirs] {
          async::pin_this_thread(cpu);
          take_scheduling(how.schedule);
          for (;;) {
            if (!mine_.sleep(how.patience)) continue;
            if (stop_.is_set()) return;
            theirs.wake();
          }
        }) {}
  answerer(const answerer&) = delete;
  answerer& operator=(const answerer&) = delete;
  ~answerer() {
    stop_.set();
    mine_.wake();
  }

 private:
  wake_line& mine_;
  stop_flag stop_;
  worker thread_;
};

std::unique_ptr<wake_line> make_line(ipi_method method) {
  if (method == ipi_method::futex) return std::make_unique<futex_line>();
  return std::make_unique<eventfd_line>();
}

series calls_to(const ipi_probe_options& how, spinners& others, unsigned from, unsigned to) {
  return {.watched = {to},
          .count = how.count,
          .calls = how.batch,
          .start = [&others] { others.start(); },
          .stop = [&others] { others.stop(); },
          .call = [to](std::uint32_t calls, fine_histogram& times) { call_cpu(to, calls, times); },
          .doubt =
              [from, to](std::uint32_t calls, const std::vector<ipi_counts>& counts) {
                return from == to ? doubt_baseline(calls, counts[0], to)
                                  : doubt_calls(calls, counts[0], to);
              }};
}

/// `rest` grows as long as the other CPU is not asleep in time: on a slow machine that takes long.
/// Nor is the caller always asleep before it is answered, where its CPU waits for a turn of its
/// own.
series wakes_of(const ipi_probe_options& how, std::chrono::nanoseconds& rest, wake_line& there,
                wake_line& back, unsigned from, unsigned to) {
  return {.watched = {to, from},
          .count = how.count,
          .calls = how.batch,
          .shrinks = true,
          .call =
              [how, &rest, &there, &back](std::uint32_t calls, fine_histogram& times) {
                wake_and_wait(there, back, calls, rest, how.patience, times);
              },
          .doubt =
              [&rest, from, to](std::uint32_t calls, const std::vector<ipi_counts>& counts) {
                if (from == to) return doubt_baseline(calls, counts[0], to);
                auto doubt = doubt_wakes(calls, counts[0], to);
                if (doubt.empty()) doubt = doubt_wakes(calls, counts[1], from);
                const bool too_soon = counts[0].wakes() < calls || counts[1].wakes() < calls;
                if (too_soon) rest = std::min(rest * 2, longest_rest);
                return doubt;
              }};
}

series_result measure_calls(const ipi_probe_options& how, unsigned from, unsigned to) {
  const std::vector<unsigned> peers =
      from == to ? std::vector<unsigned>() : std::vector<unsigned>{to};
  spinners others(peers, how);
  return run_series(calls_to(how, others, from, to), how.root);
}

series_result measure_wakes(const ipi_probe_options& how, ipi_method method, unsigned from,
                            unsigned to) {
  const auto there = make_line(method);
  const auto back = make_line(method);
  const answerer other(to, how, *there, *back);
  auto rest = how.rest;
  return run_series(wakes_of(how, rest, *there, *back, from, to), how.root);
}

/// Runs `work` on a thread of its own on `cpu`. What goes wrong with one measurement is its
/// result's; a policy that was insisted on and refused is everybody's.
template <class Result, class Work>
void run_on(unsigned cpu, const scheduling_wish& wish, Result& out, Work work) {
  bool ready = false;
  worker thread([&] {
    async::pin_this_thread(cpu);
    out.thread = take_scheduling(wish);
    ready = true;
    work();
  });
  const auto thrown = thread.finish();
  if (!thrown) return;
  if (!ready) std::rethrow_exception(thrown);
  try {
    std::rethrow_exception(thrown);
  } catch (const failure& problem) {
    out.verdict = probe_verdict::failed;
    out.reason = problem.what();
  }
}

}  // namespace

std::string_view to_string(ipi_method method) noexcept {
  switch (method) {
    case ipi_method::membarrier:
      return "membarrier";
    case ipi_method::futex:
      return "futex";
    case ipi_method::eventfd:
      return "eventfd";
  }
  return "invalid";
}

ipi_probe::ipi_probe(ipi_probe_options options) : options_(std::move(options)) {
  register_membarrier();
}

ipi_pair ipi_probe::measure(ipi_method method, unsigned from, unsigned to) const {
  async::demand_allowed(std::array{from, to});
  ipi_pair out{.method = method, .from = from, .to = to};
  run_on(from, options_.schedule, out, [&] {
    const auto of = method == ipi_method::membarrier ? measure_calls(options_, from, to)
                                                     : measure_wakes(options_, method, from, to);
    if (!of.counts.empty()) out.there = of.counts.front();
    if (of.counts.size() > 1) out.back = of.counts.back();
    take(of, out);
  });
  return out;
}

ipi_broadcast ipi_probe::broadcast(unsigned from, const std::vector<unsigned>& to) const {
  async::demand_allowed(std::array{from});
  async::demand_allowed(to);
  ipi_broadcast out{.from = from, .to = to};
  run_on(from, options_.schedule, out, [&] {
    spinners others(to, options_);
    const auto doubt = [&](std::uint32_t calls, const std::vector<ipi_counts>& counts) {
      std::string text;
      for (std::size_t i = 0; i < to.size() && text.empty(); ++i)
        text = doubt_calls(calls, counts[i], to[i]);
      return text;
    };
    const auto of = run_series(
        {.watched = to,
         .count = options_.count,
         .calls = options_.batch,
         .start = [&] { others.start(); },
         .stop = [&] { others.stop(); },
         .call = [](std::uint32_t calls, fine_histogram& times) { call_all(calls, times); },
         .doubt = doubt},
        options_.root);
    out.there = of.counts;
    take(of, out);
  });
  return out;
}

}  // namespace xenpv::diag
