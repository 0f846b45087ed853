#include "doctor/health_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/parse.hpp"
#include "doctor/checks.hpp"
#include "doctor/event_abi.hpp"

namespace xenpv::doctor {
namespace {

std::string clockevents_of(const guest_snapshot& snapshot) {
  std::string out;
  for (const auto& event : snapshot.clock.events)
    if (out.find(event.device) == std::string::npos) out += (out.empty() ? "" : ",") + event.device;
  return out;
}

guest_summary summarize(const guest_snapshot& snapshot) {
  guest_summary out;
  out.type = to_string(snapshot.from.guest.type);
  out.control_domain = snapshot.from.guest.is_control_domain;
  out.xen_version = snapshot.from.guest.xen_version.value_or("");
  out.kernel = snapshot.kernel;
  if (snapshot.on_xen()) out.upcall = to_string(snapshot.channels.delivery);
  if (const auto abi = find_event_abi(snapshot).abi) out.event_abi = to_string(*abi);
  out.clocksource = snapshot.clock.clocksource.value_or("");
  out.clockevent = clockevents_of(snapshot);
  return out;
}

/// Returns the kind of the channel or, for an IPI, its type, such as "resched".
std::string kind_of(const channels::channel& channel) {
  return channel.kind == channels::channel_kind::ipi && !channel.detail.empty()
             ? channel.detail
             : std::string(to_string(channel.kind));
}

event_counts events_of(const guest_snapshot& snapshot) {
  event_counts out;
  out.cpus = snapshot.channels.cpus;
  std::map<std::string, std::vector<std::uint64_t>> kinds;
  for (const auto& channel : snapshot.channels.channels) {
    if (!channel.irq) continue;
    auto& counts = kinds[kind_of(channel)];
    counts.resize(out.cpus.size());
    channels::add_counts(counts, channel.counts);
  }
  for (auto& [kind, counts] : kinds)
    out.kinds.push_back({.kind = kind, .counts = std::move(counts)});
  const auto* upcalls =
      snapshot.from.interrupts.value ? snapshot.from.interrupts.value->find("HYP") : nullptr;
  if (upcalls != nullptr) out.upcalls = upcalls->counts;
  return out;
}

/// Cites "verified on all 4 CPUs", or the number of entries with each other verdict. Returns the
/// worst health.
template <class Measured>
health judge_verdicts(const std::vector<Measured>& all, std::string_view unit,
                      check_result& result) {
  std::map<std::string, unsigned> others;
  for (const auto& entry : all)
    if (entry.verdict != "verified")
      ++others[entry.reason.empty() ? entry.verdict
                                    : fmt::format("{}: {}", entry.verdict, entry.reason)];
  if (others.empty()) {
    cite(result, "/proc/interrupts, during the measurement",
         fmt::format("verified on all {} {}", all.size(), unit));
    return health::pass;
  }
  auto worst = health::unknown;
  for (const auto& [reason, count] : others) {
    cite(result, "/proc/interrupts, during the measurement",
         fmt::format("{} of {} {} {}", count, all.size(), unit, reason));
    if (!reason.starts_with("unverified")) worst = health::warn;
  }
  return worst;
}

check_result judge_timers(const measurement& measured) {
  check_result result{.id = "timer-latency"};
  std::uint64_t samples = 0;
  std::uint64_t lost = 0;
  std::optional<std::uint64_t> worst_median;
  std::uint64_t worst = 0;
  for (const auto& timer : measured.timers) {
    const auto& summary = timer.late.summary;
    samples += summary.samples;
    lost += timer.lost;
    worst = std::max(worst, summary.max);
    if (summary.p50) worst_median = std::max(worst_median.value_or(0), *summary.p50);
    if (timer.cpu < 8)
      cite(result, fmt::format("timer of CPU {}", timer.cpu),
           fmt::format("{} samples, p50 {}, p99 {}, max {}", summary.samples,
                       summary.p50 ? format_nanoseconds(*summary.p50) : "-",
                       summary.p99 ? format_nanoseconds(*summary.p99) : "-",
                       format_nanoseconds(summary.max)));
  }
  result.verdict = judge_verdicts(measured.timers, "CPUs", result);
  result.summary = fmt::format("timers are {} late on the worst CPU (median), {} at most ({})",
                               worst_median ? format_nanoseconds(*worst_median) : "an unknown time",
                               format_nanoseconds(worst), measured.scheduling);
  if (samples > 0 && lost * 100 > samples) {
    result.verdict = std::max(result.verdict, health::warn);
    result.summary += fmt::format("; {} of {} periods were lost", lost, samples);
  }
  if (result.verdict != health::pass)
    result.remedy =
        "run xenpv-timer for a longer and more detailed measurement; see rows steal and timer";
  return result;
}

check_result judge_ipis(const measurement& measured) {
  if (measured.ipis.empty())
    return {.id = "ipi-latency", .summary = "IPIs were not measured", .remedy = measured.no_ipis};
  check_result result{.id = "ipi-latency"};
  std::uint64_t least = ~std::uint64_t{0};
  std::uint64_t most = 0;
  for (const auto& pair : measured.ipis) {
    const auto median = pair.round_trips.summary.p50;
    if (!median || pair.from == pair.to) continue;
    least = std::min(least, *median);
    most = std::max(most, *median);
  }
  result.verdict = judge_verdicts(measured.ipis, "pairs", result);
  result.summary = most == 0 ? std::string("no IPI could be measured")
                             : fmt::format("an IPI and its reply take {} to {} (medians per pair)",
                                           format_nanoseconds(least), format_nanoseconds(most));
  if (!measured.no_ipis.empty()) cite(result, "omitted", measured.no_ipis);
  if (result.verdict != health::pass)
    result.remedy = "run xenpv-ipi for a longer and more detailed measurement";
  return result;
}

}  // namespace

std::vector<check_result> judge_measurement(const measurement& measured) {
  std::vector<check_result> out;
  if (!measured.timers.empty()) out.push_back(judge_timers(measured));
  if (!measured.ipis.empty() || !measured.no_ipis.empty()) out.push_back(judge_ipis(measured));
  return out;
}

health_report make_report(const guest_snapshot& snapshot, std::string time,
                          std::optional<measurement> measured) {
  health_report out;
  out.time = std::move(time);
  out.guest = summarize(snapshot);
  out.check_results = run_checks(snapshot);
  out.events = events_of(snapshot);
  for (const auto& time_of_cpu : snapshot.cpu_times)
    out.steal.push_back({.cpu = time_of_cpu.cpu, .ticks = time_of_cpu.steal});
  if (snapshot.cpuid) out.incarnation = snapshot.cpuid->incarnation;
  if (measured)
    for (auto& result : judge_measurement(*measured))
      out.check_results.push_back(std::move(result));
  out.measured = std::move(measured);
  return out;
}

}  // namespace xenpv::doctor
