#include "xenpv/diag/health_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "diag/checks.hpp"
#include "xenpv/base/parse.hpp"

namespace xenpv::diag {
namespace {

std::string clockevents_of(const examination& of) {
  std::string out;
  for (const auto& each : of.clock.events)
    if (out.find(each.device) == std::string::npos) out += (out.empty() ? "" : ",") + each.device;
  return out;
}

guest_words words_of(const examination& of) {
  guest_words out;
  out.type = to_string(of.from.guest.type);
  out.control_domain = of.from.guest.is_control_domain;
  out.xen_version = of.from.guest.xen_version.value_or("");
  out.kernel = of.kernel;
  if (of.on_xen()) out.upcall = to_string(of.channels.delivery);
  if (of.channels.abi) out.event_abi = to_string(*of.channels.abi);
  out.clocksource = of.clock.clocksource.value_or("");
  out.clockevent = clockevents_of(of);
  return out;
}

/// IPIs are told apart; all else goes by its kind.
std::string kind_of(const channel& of) {
  return of.kind == channel_kind::ipi && !of.detail.empty() ? of.detail
                                                            : std::string(to_string(of.kind));
}

event_counts events_of(const examination& of) {
  event_counts out;
  out.cpus = of.channels.cpus;
  std::map<std::string, std::vector<std::uint64_t>> kinds;
  for (const auto& each : of.channels.channels) {
    if (!each.irq) continue;
    auto& counts = kinds[kind_of(each)];
    counts.resize(out.cpus.size());
    for (std::size_t i = 0; i < each.counts.size() && i < counts.size(); ++i)
      counts[i] += each.counts[i];
  }
  for (auto& [kind, counts] : kinds)
    out.kinds.push_back({.kind = kind, .counts = std::move(counts)});
  const auto* upcalls = of.from.interrupts.value ? of.from.interrupts.value->find("HYP") : nullptr;
  if (upcalls != nullptr) out.upcalls = upcalls->counts;
  return out;
}

/// "verified on all 4", or what the worst was.
template <class Measured>
health judge_verdicts(const std::vector<Measured>& all, std::string_view what, finding& found) {
  std::map<std::string, unsigned> others;
  for (const auto& each : all)
    if (each.verdict != "verified")
      ++others[each.reason.empty() ? each.verdict
                                   : fmt::format("{}: {}", each.verdict, each.reason)];
  if (others.empty()) {
    cite(found, "/proc/interrupts, meanwhile",
         fmt::format("verified on all {} {}", all.size(), what));
    return health::pass;
  }
  auto worst = health::unknown;
  for (const auto& [reason, count] : others) {
    cite(found, "/proc/interrupts, meanwhile",
         fmt::format("{} of {} {} {}", count, all.size(), what, reason));
    if (!reason.starts_with("unverified")) worst = health::warn;
  }
  return worst;
}

finding judge_timers(const measurement& of) {
  finding found{.id = "timer-latency"};
  std::uint64_t samples = 0;
  std::uint64_t lost = 0;
  std::optional<std::uint64_t> worst_median;
  std::uint64_t worst = 0;
  for (const auto& each : of.timers) {
    const auto& summary = each.late.summary;
    samples += summary.samples;
    lost += each.lost;
    worst = std::max(worst, summary.max);
    if (summary.p50) worst_median = std::max(worst_median.value_or(0), *summary.p50);
    if (each.cpu < 8)
      cite(found, fmt::format("timer of CPU {}", each.cpu),
           fmt::format("{} samples, p50 {}, p99 {}, max {}", summary.samples,
                       summary.p50 ? format_nanoseconds(*summary.p50) : "-",
                       summary.p99 ? format_nanoseconds(*summary.p99) : "-",
                       format_nanoseconds(summary.max)));
  }
  found.verdict = judge_verdicts(of.timers, "CPUs", found);
  found.summary = fmt::format("timers are {} late in the median of the worst CPU, {} at most ({})",
                              worst_median ? format_nanoseconds(*worst_median) : "an unknown time",
                              format_nanoseconds(worst), of.scheduling);
  if (samples > 0 && lost * 100 > samples) {
    found.verdict = std::max(found.verdict, health::warn);
    found.summary += fmt::format("; {} of {} periods were lost", lost, samples);
  }
  if (found.verdict != health::pass)
    found.cure = "xenpv-timer measures longer and says more; see steal and timer";
  return found;
}

finding judge_ipis(const measurement& of) {
  finding found{.id = "ipi-latency"};
  if (of.ipis.empty()) {
    found.summary = "IPIs were not measured";
    found.cure = of.no_ipis;
    return found;
  }
  std::uint64_t least = ~std::uint64_t{0};
  std::uint64_t most = 0;
  for (const auto& each : of.ipis) {
    const auto median = each.round_trips.summary.p50;
    if (!median || each.from == each.to) continue;
    least = std::min(least, *median);
    most = std::max(most, *median);
  }
  found.verdict = judge_verdicts(of.ipis, "pairs", found);
  found.summary = most == 0 ? std::string("no IPI could be measured")
                            : fmt::format("an IPI and its answer take {} to {} (medians of pairs)",
                                          format_nanoseconds(least), format_nanoseconds(most));
  if (!of.no_ipis.empty()) cite(found, "left out", of.no_ipis);
  if (found.verdict != health::pass) found.cure = "xenpv-ipi measures longer and says more";
  return found;
}

}  // namespace

std::vector<finding> judge_measurement(const measurement& of) {
  std::vector<finding> out;
  if (!of.timers.empty()) out.push_back(judge_timers(of));
  if (!of.ipis.empty() || !of.no_ipis.empty()) out.push_back(judge_ipis(of));
  return out;
}

health_report make_report(const examination& of, std::string time,
                          std::optional<measurement> measured) {
  health_report out;
  out.time = std::move(time);
  out.guest = words_of(of);
  out.findings = judge(of);
  out.events = events_of(of);
  for (const auto& each : of.cpu_times)
    out.steal.push_back({.cpu = each.cpu, .ticks = each.steal});
  if (of.cpuid) out.incarnation = of.cpuid->incarnation;
  if (measured) {
    auto more = judge_measurement(*measured);
    out.findings.insert(out.findings.end(), std::make_move_iterator(more.begin()),
                        std::make_move_iterator(more.end()));
  }
  out.measured = std::move(measured);
  return out;
}

}  // namespace xenpv::diag
