#include "measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/progress.hpp"
#include "probe/ipi_probe.hpp"
#include "probe/timer_probe.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::doctor_app {
namespace {

using probe::probe_verdict;
using std::chrono::nanoseconds;

constexpr unsigned rounds = 5;
/// The number of pairs grows with the square of the number of CPUs; xenpv-ipi measures all pairs.
constexpr std::size_t max_ipi_cpus = 8;
constexpr std::uint32_t min_calls = 100;
constexpr std::uint32_t max_calls = 2000;

/// Returns the worse verdict: probe_verdict is ordered from best to worst.
probe_verdict worse(probe_verdict a, probe_verdict b) {
  return std::max(a, b);
}

struct timer_sum {
  std::vector<fine_histogram> rounds = {};
  probe_verdict verdict = probe_verdict::verified;
  std::string reason = {};
  std::uint64_t lost = 0;
  std::uint64_t steal_ticks = 0;
};

void add_round(const probe::timer_report& report, std::map<unsigned, timer_sum>& sums) {
  for (const auto& cpu : report.cpus) {
    auto& sum = sums[cpu.cpu];
    sum.rounds.push_back(cpu.times);
    sum.verdict = worse(sum.verdict, cpu.verdict);
    if (cpu.verdict != probe_verdict::verified && !cpu.reasons.empty())
      sum.reason = cpu.reasons.front();
    sum.lost += cpu.lost;
    sum.steal_ticks += cpu.steal_ticks;
  }
}

void measure_timers(nanoseconds duration, cli::progress_line& progress, doctor::measurement& out) {
  probe::timer_probe_options options;
  options.duration = duration / rounds;
  out.interval_ns = static_cast<std::uint64_t>(options.interval.count());
  std::map<unsigned, timer_sum> sums;
  for (unsigned round = 1; round <= rounds; ++round) {
    options.go_on = [&](const probe::timer_progress& state) {
      const auto left = state.left + options.duration * (rounds - round);
      progress.show(fmt::format("timers: round {} of {}, {} s left", round, rounds,
                                std::chrono::ceil<std::chrono::seconds>(left).count()));
      return true;
    };
    const auto report = probe::measure_timers(options);
    if (!report.cpus.empty()) out.scheduling = to_string(report.cpus.front().thread);
    add_round(report, sums);
  }
  for (auto& [cpu, sum] : sums)
    out.timers.push_back({.cpu = cpu,
                          .verdict = std::string(to_string(sum.verdict)),
                          .reason = sum.reason,
                          .lost = sum.lost,
                          .steal_ticks = sum.steal_ticks,
                          .late = probe::figures_of(sum.rounds)});
}

doctor::measured_ipi measure_pair(const probe::ipi_probe& probe, unsigned from, unsigned to) {
  std::vector<fine_histogram> times;
  auto verdict = probe_verdict::verified;
  std::string reason;
  for (unsigned round = 0; round < rounds; ++round) {
    const auto pair = probe.measure(probe::ipi_method::membarrier, from, to);
    times.push_back(pair.times);
    verdict = worse(verdict, pair.verdict);
    if (pair.verdict != probe_verdict::verified) reason = pair.reason;
  }
  return {.from = from,
          .to = to,
          .verdict = std::string(to_string(verdict)),
          .reason = std::move(reason),
          .round_trips = probe::figures_of(times)};
}

/// Estimates, from the time of a few calls, how many calls per round and pair fit in `budget`.
std::uint32_t calls_within(nanoseconds budget, const std::vector<unsigned>& cpus) {
  const auto start = std::chrono::steady_clock::now();
  (void)probe::ipi_probe({.count = min_calls})
      .measure(probe::ipi_method::membarrier, cpus.front(), cpus.back());
  const auto call_time = (std::chrono::steady_clock::now() - start) / min_calls;
  const auto pairs = static_cast<std::int64_t>(cpus.size() * cpus.size());
  const auto calls = budget / (pairs * rounds) / std::max<nanoseconds>(call_time, nanoseconds{1});
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(calls, min_calls, max_calls));
}

void measure_ipis(nanoseconds duration, cli::progress_line& progress, doctor::measurement& out) {
  auto cpus = async::allowed_cpus();
  if (cpus.size() < 2) {
    out.no_ipis = "this process may use only one CPU";
    return;
  }
  if (cpus.size() > max_ipi_cpus) {
    out.no_ipis = fmt::format("CPUs {} and above are omitted; xenpv-ipi measures all pairs",
                              cpus[max_ipi_cpus]);
    cpus.resize(max_ipi_cpus);
  }
  try {
    const probe::ipi_probe probe({.count = calls_within(duration, cpus)});
    for (const auto from : cpus)
      for (const auto to : cpus) {
        progress.show(fmt::format("IPIs: CPU {} to CPU {}, pair {} of {}", from, to,
                                  out.ipis.size() + 1, cpus.size() * cpus.size()));
        out.ipis.push_back(measure_pair(probe, from, to));
      }
  } catch (const failure& problem) {
    out.no_ipis = problem.what();
  }
}

}  // namespace

doctor::measurement measure(nanoseconds duration) {
  doctor::measurement out;
  cli::progress_line progress;
  measure_timers(duration * 3 / 5, progress, out);
  measure_ipis(duration * 2 / 5, progress, out);
  return out;
}

}  // namespace xenpv::doctor_app
