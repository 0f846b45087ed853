#include "probe/ipi_probe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <thread>

#include "channels/raw_facts.hpp"
#include "probe/ipi_run.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::chrono::nanoseconds longest_rest = std::chrono::milliseconds(20);
/// The minimum for wake-ups. In a batch of one, an unrelated IPI could hide that no IPI was sent.
constexpr std::uint32_t smallest_batch = 2;
/// After this many discarded batches with none kept, further batches will not match either.
constexpr std::uint32_t max_discarded = 16;

/// One batch of calls: its times, or the reason why they must be discarded.
struct batch {
  fine_histogram times = {};
  std::vector<ipi_counts> counts = {};  ///< of the watched CPUs
  std::string doubt = {};
  bool counted = false;
};

/// The parameters of a series of batches.
struct series {
  std::vector<unsigned> watched = {};  ///< CPUs whose IPIs are counted
  std::uint32_t count = 0;
  std::uint32_t calls = 0;  ///< per batch
  /// True if each call may fail to send its IPI. Smaller batches then match their counts more
  /// often.
  bool shrinks = false;
  std::function<void()> start = [] {};  ///< called before the first reading
  std::function<void()> stop = [] {};   ///< called after the second reading
  std::function<void(std::uint32_t calls, fine_histogram& times)> call = {};
  /// The reason to discard a batch; empty if the counts, in the order of `watched`, are as expected
  /// after `calls`.
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

batch run_batch(const series& plan, std::uint32_t calls, const system_root& root) {
  batch out;
  plan.start();
  const auto before = channels::read_interrupts(root);
  plan.call(calls, out.times);
  const auto after = channels::read_interrupts(root);
  plan.stop();
  out.counted = before.value && after.value;
  if (!out.counted) {
    out.doubt = before.problem;
    return out;
  }
  for (const auto cpu : plan.watched) {
    out.counts.push_back(ipis_between(*before.value, *after.value, cpu));
    out.counted = out.counted && out.counts.back().is_known();
  }
  out.doubt = out.counted ? plan.doubt(calls, out.counts)
                          : std::string("/proc/interrupts has no rows that count IPIs");
  return out;
}

void keep(const batch& latest, series_result& out) {
  ++out.kept;
  out.times.add(latest.times);
  out.counts.resize(std::max(out.counts.size(), latest.counts.size()));
  for (std::size_t i = 0; i < latest.counts.size(); ++i) {
    if (out.counts[i].is_known())
      out.counts[i] += latest.counts[i];
    else
      out.counts[i] = latest.counts[i];
  }
}

/// Runs batches until enough calls were kept, or until further attempts are pointless.
series_result run_series(const series& plan, const system_root& root) {
  series_result out;
  const std::uint64_t max_calls = 3ULL * plan.count + 5ULL * plan.calls;
  auto calls = plan.calls;
  std::uint64_t made = 0;
  while (out.calls < plan.count && made < max_calls) {
    if (out.kept == 0 && out.thrown_away == max_discarded) break;
    const auto start = clock::now();
    made += calls;
    const auto latest = run_batch(plan, calls, root);
    if (latest.doubt.empty() || !latest.counted) {
      keep(latest, out);
      out.calls += calls;
    } else {
      ++out.thrown_away;
      if (plan.shrinks) calls = std::max(calls / 2, std::min(smallest_batch, plan.calls));
    }
    if (!latest.doubt.empty()) out.reason = latest.doubt;
    out.counted = out.counted && latest.counted;
    // The kernel throttles SCHED_FIFO threads that use more than 95 % of a CPU.
    std::this_thread::sleep_for((clock::now() - start) / 8);
  }
  return out;
}

probe_verdict verdict_of(const series_result& result) {
  if (result.kept == 0) return probe_verdict::refuted;
  return result.counted ? probe_verdict::verified : probe_verdict::unverified;
}

/// Copies the fields that both kinds of result share.
template <class Result>
void take(const series_result& result, Result& out) {
  out.times = result.times;
  out.kept = result.kept;
  out.thrown_away = result.thrown_away;
  out.calls = result.calls;
  out.verdict = verdict_of(result);
  out.reason = result.reason;
}

/// A baseline sends no IPIs; a few unrelated ones are tolerated.
std::string doubt_baseline(std::uint64_t calls, const ipi_counts& here, unsigned cpu) {
  if (here.wakes() < calls / 2 + 2) return {};
  return fmt::format("CPU {} counted {} IPIs although none was sent", cpu, here.wakes());
}

/// Busy-waits on all CPUs except the caller's while a batch runs.
class spinners {
 public:
  spinners(const std::vector<unsigned>& cpus, const ipi_probe_options& options)
      : timeout_(options.timeout), cpus_(cpus) {
    for (const auto cpu : cpus)
      all_.push_back(std::make_unique<spinner>(cpu, options.schedule));
  }
  void start() {
    for (std::size_t i = 0; i < all_.size(); ++i)
      if (!all_[i]->spin(timeout_))
        throw failure(
            errc::timed_out,
            fmt::format("wait {} ms for a thread to run on CPU {}", timeout_.count(), cpus_[i]),
            "another thread with a higher priority occupies that CPU");
  }
  void stop() {
    for (auto& entry : all_)
      entry->rest();
  }

 private:
  std::chrono::milliseconds timeout_;
  std::vector<unsigned> cpus_;
  std::vector<std::unique_ptr<spinner>> all_;
};

/// The peer thread: replies to each wake-up with a wake-up.
class responder {
 public:
  responder(unsigned cpu, const ipi_probe_options& options, wake_line& incoming,
            wake_line& outgoing)
      : incoming_(incoming), thread_([this, cpu, options, &outgoing] {
          async::pin_this_thread(cpu);
          take_scheduling(options.schedule);
          for (;;) {
            if (!incoming_.sleep(options.timeout)) continue;
            if (stop_.is_set()) return;
            outgoing.wake();
          }
        }) {}
  responder(const responder&) = delete;
  responder& operator=(const responder&) = delete;
  ~responder() {
    stop_.set();
    incoming_.wake();
  }

 private:
  wake_line& incoming_;
  stop_flag stop_;
  worker thread_;
};

std::unique_ptr<wake_line> make_line(ipi_method method) {
  if (method == ipi_method::futex) return std::make_unique<futex_line>();
  return std::make_unique<eventfd_line>();
}

series calls_to(const ipi_probe_options& options, spinners& others, unsigned from, unsigned to) {
  return {.watched = {to},
          .count = options.count,
          .calls = options.batch,
          .start = [&others] { others.start(); },
          .stop = [&others] { others.stop(); },
          .call = [to](std::uint32_t calls, fine_histogram& times) { call_cpu(to, calls, times); },
          .doubt =
              [from, to](std::uint32_t calls, const std::vector<ipi_counts>& counts) {
                return from == to ? doubt_baseline(calls, counts[0], to)
                                  : doubt_calls(calls, counts[0], to);
              }};
}

/// Increases `rest` while the other CPU is not asleep in time, which takes longer on a slow
/// machine. The caller may also still be awake when the reply arrives, if its vCPU had to wait for
/// a physical CPU.
series wakes_of(const ipi_probe_options& options, std::chrono::nanoseconds& rest, wake_line& there,
                wake_line& back, unsigned from, unsigned to) {
  return {.watched = {to, from},
          .count = options.count,
          .calls = options.batch,
          .shrinks = true,
          .call =
              [options, &rest, &there, &back](std::uint32_t calls, fine_histogram& times) {
                wake_and_wait(there, back, calls, rest, options.timeout, times);
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

series_result measure_calls(const ipi_probe_options& options, unsigned from, unsigned to) {
  const std::vector<unsigned> peers =
      from == to ? std::vector<unsigned>() : std::vector<unsigned>{to};
  spinners others(peers, options);
  return run_series(calls_to(options, others, from, to), options.root);
}

series_result measure_wakes(const ipi_probe_options& options, ipi_method method, unsigned from,
                            unsigned to) {
  const auto there = make_line(method);
  const auto back = make_line(method);
  const responder other(to, options, *there, *back);
  auto rest = options.rest;
  return run_series(wakes_of(options, rest, *there, *back, from, to), options.root);
}

/// Runs `work` on its own thread on `cpu`. Stores the error of a single measurement in its result;
/// throws if a mandatory policy is refused.
template <class Result, class Work>
void run_on(unsigned cpu, const scheduling_wish& request, Result& out, Work work) {
  bool ready = false;
  worker thread([&] {
    async::pin_this_thread(cpu);
    out.thread = take_scheduling(request);
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
  async::require_allowed(std::array{from, to});
  ipi_pair out{.method = method, .from = from, .to = to};
  run_on(from, options_.schedule, out, [&] {
    const auto result = method == ipi_method::membarrier
                            ? measure_calls(options_, from, to)
                            : measure_wakes(options_, method, from, to);
    if (!result.counts.empty()) out.there = result.counts.front();
    if (result.counts.size() > 1) out.back = result.counts.back();
    take(result, out);
  });
  return out;
}

ipi_broadcast ipi_probe::broadcast(unsigned from, const std::vector<unsigned>& to) const {
  async::require_allowed(std::array{from});
  async::require_allowed(to);
  ipi_broadcast out{.from = from, .to = to};
  run_on(from, options_.schedule, out, [&] {
    spinners others(to, options_);
    const auto doubt = [&](std::uint32_t calls, const std::vector<ipi_counts>& counts) {
      std::string text;
      for (std::size_t i = 0; i < to.size() && text.empty(); ++i)
        text = doubt_calls(calls, counts[i], to[i]);
      return text;
    };
    const auto result = run_series(
        {.watched = to,
         .count = options_.count,
         .calls = options_.batch,
         .start = [&] { others.start(); },
         .stop = [&] { others.stop(); },
         .call = [](std::uint32_t calls, fine_histogram& times) { call_all(calls, times); },
         .doubt = doubt},
        options_.root);
    out.there = result.counts;
    take(result, out);
  });
  return out;
}

}  // namespace xenpv::probe
