#include "probe/ipi_probe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <thread>

#include "base/enum_name.hpp"
#include "channels/raw_facts.hpp"
#include "probe/ipi_run.hpp"
#include "probe/measuring_thread.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::chrono::nanoseconds longest_rest = std::chrono::milliseconds(20);
/// The minimum batch size for wake-ups. In a batch of one, an unrelated IPI could mask a missing
/// one.
constexpr std::uint32_t smallest_batch = 2;
/// After this many discarded batches without a kept one, further batches will not match either.
constexpr std::uint32_t max_discarded = 16;

/// One batch of calls: its times, or the reason why they must be discarded.
struct batch {
  fine_histogram times = {};
  std::vector<ipi_counts> counts = {};  ///< one per watched CPU
  std::string doubt = {};
  bool counted = false;
};

/// Keeps the target CPUs busy-waiting while a batch runs.
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

/// Describes a series of batches.
struct series {
  std::vector<unsigned> watched = {};  ///< CPUs whose IPIs are counted
  /// True if any call may fail to send its IPI. Smaller batches are then more likely to match their
  /// counts.
  bool shrinks = false;
  spinners* others = nullptr;  ///< busy-wait during a batch; may be nullptr
  std::function<void(std::uint32_t calls, fine_histogram& times)> call = {};
  /// Returns the reason to discard a batch, or an empty string if the counts are as expected after
  /// `calls`. `counts` is in the order of `watched`.
  std::function<std::string(std::uint32_t calls, const std::vector<ipi_counts>& counts)> doubt = {};
};

batch run_batch(const series& plan, std::uint32_t calls, const system_root& root) {
  batch out;
  if (plan.others != nullptr) plan.others->start();
  const auto before = channels::read_interrupts(root);
  plan.call(calls, out.times);
  const auto after = channels::read_interrupts(root);
  if (plan.others != nullptr) plan.others->stop();
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

void add(std::vector<ipi_counts>& sums, const std::vector<ipi_counts>& counts) {
  sums.resize(std::max(sums.size(), counts.size()));
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (sums[i].is_known())
      sums[i] += counts[i];
    else
      sums[i] = counts[i];
  }
}

/// Runs batches until enough calls were kept, or until further attempts are pointless. Returns the
/// summed counts of the kept batches, in the order of `watched`. Leaves `out` unchanged if it
/// throws.
std::vector<ipi_counts> run_series(const series& plan, const ipi_probe_options& options,
                                   ipi_measurement& out) {
  ipi_measurement result;
  std::vector<ipi_counts> counts;
  bool all_counted = true;
  bool ended_early = false;
  const std::uint64_t max_calls = 3ULL * options.count + 5ULL * options.batch;
  auto calls = options.batch;
  std::uint64_t made = 0;
  while (result.calls < options.count && made < max_calls) {
    if (result.kept == 0 && result.thrown_away == max_discarded) break;
    if (options.go_on && !options.go_on(result.calls)) {
      ended_early = true;
      break;
    }
    const auto start = clock::now();
    made += calls;
    const auto latest = run_batch(plan, calls, options.root);
    if (latest.doubt.empty() || !latest.counted) {
      ++result.kept;
      result.times.add(latest.times);
      result.calls += calls;
      add(counts, latest.counts);
    } else {
      ++result.thrown_away;
      if (plan.shrinks) calls = std::max(calls / 2, std::min(smallest_batch, options.batch));
    }
    if (!latest.doubt.empty()) result.reason = latest.doubt;
    all_counted = all_counted && latest.counted;
    // The kernel throttles SCHED_FIFO threads that use more than 95% of a CPU.
    std::this_thread::sleep_for((clock::now() - start) / 8);
  }
  if (result.kept == 0 && ended_early)
    throw failure(std::make_error_code(std::errc::operation_canceled), "measure IPIs");
  result.verdict = result.kept == 0 ? probe_verdict::refuted
                   : all_counted    ? probe_verdict::verified
                                    : probe_verdict::unverified;
  out = std::move(result);
  return counts;
}

/// A baseline sends no IPIs; a few unrelated ones are tolerated.
std::string doubt_baseline(std::uint64_t calls, const ipi_counts& here, unsigned cpu) {
  if (here.wakes() < calls / 2 + 2) return {};
  return fmt::format("CPU {} counted {} IPIs although none was sent", cpu, here.wakes());
}

/// The peer thread: replies to each wake-up with a wake-up.
class responder {
 public:
  responder(unsigned cpu, const ipi_probe_options& options, wake_line& incoming,
            wake_line& outgoing)
      : incoming_(incoming), thread_(cpu, options.schedule, [this, options, &outgoing] {
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
  measuring_thread thread_;
};

std::unique_ptr<wake_line> make_line(ipi_method method) {
  if (method == ipi_method::futex) return std::make_unique<futex_line>();
  return std::make_unique<eventfd_line>();
}

series calls_to(spinners& others, unsigned from, unsigned to) {
  return {.watched = {to},
          .others = &others,
          .call = [to](std::uint32_t calls, fine_histogram& times) { call_cpu(to, calls, times); },
          .doubt =
              [from, to](std::uint32_t calls, const std::vector<ipi_counts>& counts) {
                return from == to ? doubt_baseline(calls, counts[0], to)
                                  : doubt_calls(calls, counts[0], to);
              }};
}

/// Doubles `rest` after a batch in which either CPU was not asleep in time. The target CPU may take
/// longer to go idle on a slow machine. The caller may still be awake when the reply arrives if its
/// vCPU had to wait for a physical CPU.
series wakes_of(const ipi_probe_options& options, std::chrono::nanoseconds& rest, wake_line& there,
                wake_line& back, unsigned from, unsigned to) {
  return {.watched = {to, from},
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

std::vector<ipi_counts> measure_calls(const ipi_probe_options& options, ipi_pair& out) {
  std::vector<unsigned> peers;
  if (out.to != out.from) peers.push_back(out.to);
  spinners others(peers, options);
  return run_series(calls_to(others, out.from, out.to), options, out);
}

std::vector<ipi_counts> measure_wakes(const ipi_probe_options& options, ipi_pair& out) {
  const auto there = make_line(out.method);
  const auto back = make_line(out.method);
  const responder other(out.to, options, *there, *back);
  auto rest = options.rest;
  return run_series(wakes_of(options, rest, *there, *back, out.from, out.to), options, out);
}

/// Runs `work` on its own thread on `cpu`. If `work` throws `failure`, stores the message in `out`,
/// whose verdict is then still `failed`. Throws if the CPU or a mandatory policy is refused.
void run_on(unsigned cpu, const scheduling_wish& request, ipi_measurement& out,
            const std::function<void()>& work) {
  measuring_thread thread(cpu, request, work);
  const auto settings = thread.wait_until_ready();
  try {
    thread.join();
  } catch (const failure& problem) {
    out.reason = problem.what();
  }
  out.thread = settings;
}

}  // namespace

std::string_view to_string(ipi_method method) noexcept {
  return enum_name<ipi_method::eventfd>(method, "membarrier", "futex", "eventfd");
}

ipi_probe::ipi_probe(ipi_probe_options options) : options_(std::move(options)) {
  register_membarrier();
}

ipi_pair ipi_probe::measure(ipi_method method, unsigned from, unsigned to) const {
  async::require_allowed(std::array{from, to});
  ipi_pair out;
  out.method = method;
  out.from = from;
  out.to = to;
  run_on(from, options_.schedule, out, [&] {
    const auto counts = method == ipi_method::membarrier ? measure_calls(options_, out)
                                                         : measure_wakes(options_, out);
    if (!counts.empty()) out.there = counts.front();
    if (counts.size() > 1) out.back = counts.back();
  });
  return out;
}

ipi_broadcast ipi_probe::broadcast(unsigned from, const std::vector<unsigned>& to) const {
  async::require_allowed(std::array{from});
  async::require_allowed(to);
  ipi_broadcast out;
  out.from = from;
  out.to = to;
  run_on(from, options_.schedule, out, [&] {
    spinners others(to, options_);
    const auto doubt = [&](std::uint32_t calls, const std::vector<ipi_counts>& counts) {
      std::string text;
      for (std::size_t i = 0; i < to.size() && text.empty(); ++i)
        text = doubt_calls(calls, counts[i], to[i]);
      return text;
    };
    out.there = run_series({.watched = to, .others = &others, .call = call_all, .doubt = doubt},
                           options_, out);
  });
  return out;
}

}  // namespace xenpv::probe
