#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <ostream>
#include <utility>
#include <vector>

#include "base/latency_summary.hpp"
#include "base/parse.hpp"
#include "cli/latency.hpp"
#include "cli/table.hpp"

namespace xenpv::timer_app {
namespace {

using cli::cells_of;
using cli::json;
using cli::or_null;
using cli::right_column;
using cli::time_text;
using probe::probe_verdict;
using probe::timer_method;
using probe::timer_report;
using probe::timer_result;

std::uint64_t steal_ns(const timer_result& cpu) {
  return cpu.steal_ticks * 10'000'000;
}

/// Describes the scheduling of the threads, which may differ between CPUs.
std::string scheduling_text(const timer_report& report) {
  std::vector<std::string> texts;
  for (const auto& cpu : report.cpus) {
    auto text = to_string(cpu.thread);
    if (!cpu.thread.is_fifo)
      text += fmt::format(" with a timer slack of {}", format_duration(cpu.thread.slack));
    if (std::find(texts.begin(), texts.end(), text) == texts.end())
      texts.push_back(std::move(text));
  }
  return fmt::format("{}", fmt::join(texts, " and "));
}

std::vector<std::string> figures(const fine_histogram& times) {
  const auto summary = summary_of(times);
  if (summary.samples == 0) return std::vector<std::string>(7);
  return {time_text(summary.min), time_text(static_cast<std::uint64_t>(summary.mean)),
          time_text(summary.p50), time_text(summary.p90),
          time_text(summary.p99), time_text(summary.p99_9),
          time_text(summary.max)};
}

std::vector<cli::column> with_figures(std::vector<cli::column> before,
                                      const std::vector<cli::column>& after = {}) {
  for (const auto* title : {"MIN", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"})
    before.push_back(right_column(title));
  before.insert(before.end(), after.begin(), after.end());
  return before;
}

void print_lateness(std::ostream& out, const timer_report& report) {
  out << fmt::format("late after {} every {}, {}:\n", to_string(report.how.method),
                     format_duration(report.how.interval), scheduling_text(report));
  cli::table table(
      with_figures({right_column("CPU"), right_column("PERIODS"), right_column("LOST")},
                   {right_column("RATE"), {"VERDICT"}}));
  for (const auto& cpu : report.cpus)
    table.add_row(cells_of(cpu.cpu, cpu.times.count(), cpu.lost, figures(cpu.times),
                           fmt::format("{:.1f}/s", cpu.rate()), to_string(cpu.verdict)));
  table.print(out);
}

void print_gaps(std::ostream& out, const timer_report& report) {
  out << fmt::format("gaps of {} or more while reading the clock, {}:\n",
                     format_duration(report.how.gap), scheduling_text(report));
  cli::table table({right_column("CPU"), right_column("OBSERVED"), right_column("GAPS"),
                    right_column("TOTAL-GAP"), right_column("SHARE"), right_column("LONGEST"),
                    right_column("STEAL")});
  for (const auto& cpu : report.cpus) {
    const auto gaps = cpu.gaps.value_or(probe::gap_facts{});
    const auto share = gaps.looked.count() == 0 ? 0.0 : 100.0 * gaps.total / gaps.looked;
    table.add_row(cells_of(cpu.cpu, format_duration(gaps.looked), gaps.count,
                           format_duration(gaps.total), fmt::format("{:.3f}%", share),
                           time_text(cpu.times.max()), time_text(steal_ns(cpu))));
  }
  table.print(out);
}

void print_evidence(std::ostream& out, const timer_report& report) {
  out << "\ntimer evidence:\n";
  const bool is_arm =
      std::ranges::any_of(report.cpus, [](const timer_result& cpu) { return cpu.evidence.is_arm; });
  std::vector<cli::column> columns = {right_column("CPU"), cli::column{"TIMER"},
                                      right_column("MIN-DELTA"), right_column("NEEDED")};
  for (const auto* title : is_arm ? std::vector{"ARCH-TIMER"} : std::vector{"PV-EVENTS", "LOC"})
    columns.push_back(right_column(title));
  for (const auto* title : {"STEAL", "RUNNABLE", "WAITED"})
    columns.push_back(right_column(title));
  cli::table table(std::move(columns));
  for (const auto& cpu : report.cpus) {
    const auto& evidence = cpu.evidence;
    const auto counts = is_arm ? cells_of(evidence.generic_events)
                               : cells_of(evidence.timer_events, evidence.local_interrupts);
    table.add_row(cells_of(cpu.cpu, evidence.device, time_text(evidence.min_delta_ns),
                           cpu.wake_ups + cpu.warm_up, counts, time_text(steal_ns(cpu)),
                           cpu.runstate ? format_duration(cpu.runstate->runnable) : std::string(),
                           cpu.waited ? format_duration(*cpu.waited) : std::string()));
  }
  table.print(out);
}

void print_split(std::ostream& out, const timer_report& report) {
  cli::table table(with_figures({right_column("CPU"), {"PART"}, right_column("WAKE-UPS")}));
  for (const auto& cpu : report.cpus) {
    if (!cpu.split) continue;
    const auto row = [&](const char* part, const fine_histogram& times) {
      table.add_row(cells_of(cpu.cpu, part, times.count(), figures(times)));
    };
    row("hypervisor", cpu.split->hypervisor);
    row("guest", cpu.split->guest);
  }
  if (table.empty()) return;
  out << "\nuntil the kernel's timer interrupt (hypervisor), and from there to the thread "
         "(guest):\n";
  table.print(out);
}

json evidence_json(const probe::timer_evidence& evidence) {
  return {{"device", or_null(evidence.device)},
          {"is_pv_timer", evidence.is_pv_timer()},
          {"min_delta_ns", or_null(evidence.min_delta_ns)},
          {"set_next_event", or_null(evidence.set_next_event)},
          {"timer_events", or_null(evidence.timer_events)},
          {"timer_events_elsewhere", or_null(evidence.timer_elsewhere)},
          {"local_interrupts", or_null(evidence.local_interrupts)},
          {"is_generic_timer", evidence.is_generic_timer()},
          {"generic_timer_events", or_null(evidence.generic_events)}};
}

json split_json(const std::optional<probe::timer_split>& split) {
  if (!split) return nullptr;
  return {{"hypervisor_ns", cli::latency_json(split->hypervisor)},
          {"guest_ns", cli::latency_json(split->guest)},
          {"unmatched", split->unmatched}};
}

json gaps_json(const std::optional<probe::gap_facts>& gaps) {
  if (!gaps) return nullptr;
  return {{"count", gaps->count},
          {"total_ns", gaps->total.count()},
          {"looked_ns", gaps->looked.count()}};
}

json runstate_json(const std::optional<xen::vcpu_runstate>& runstate) {
  if (!runstate) return nullptr;
  return {{"running", runstate->running.count()},
          {"runnable", runstate->runnable.count()},
          {"blocked", runstate->blocked.count()},
          {"offline", runstate->offline.count()}};
}

json cpu_json(const timer_result& cpu) {
  return {{"cpu", cpu.cpu},
          {"verdict", to_string(cpu.verdict)},
          {"reasons", cpu.reasons},
          {"scheduling",
           {{"policy", cpu.thread.is_fifo ? "SCHED_FIFO" : "SCHED_OTHER"},
            {"priority", cpu.thread.priority},
            {"slack_ns", cpu.thread.slack.count()},
            {"refused", or_null(cpu.thread.refused)}}},
          {"periods", cpu.gaps ? 0 : cpu.times.count()},
          {"wake_ups", cpu.wake_ups},
          {"lost", cpu.lost},
          {"warm_up", cpu.warm_up},
          {"took_ns", cpu.took.count()},
          {"wake_ups_per_second", cpu.rate()},
          {"late_ns", cpu.gaps ? json() : cli::latency_json(cpu.times)},
          {"wake_up_late_ns", cli::latency_json(cpu.wake_times)},
          {"between_looks_ns", cpu.gaps ? cli::latency_json(cpu.times) : json()},
          {"evidence", evidence_json(cpu.evidence)},
          {"steal_ns", steal_ns(cpu)},
          {"runstate_ns", runstate_json(cpu.runstate)},
          {"waited_ns", cpu.waited ? json(cpu.waited->count()) : json()},
          {"split", split_json(cpu.split)},
          {"gaps", gaps_json(cpu.gaps)}};
}

void print_clock_warnings(const timer_report& report) {
  using namespace std::chrono_literals;
  if (report.clock.read >= 500ns)
    std::cerr << fmt::format(
        "reading the clock ('{}') takes {}{}; every figure includes this time\n",
        report.clocksource, format_duration(report.clock.read),
        report.clock.is_vdso() ? "" : " (a system call)");
  const auto quickest = std::min_element(
      report.cpus.begin(), report.cpus.end(),
      [](const timer_result& a, const timer_result& b) { return a.times.min() < b.times.min(); });
  if (quickest->times.count() > 0 &&
      static_cast<std::int64_t>(quickest->times.min()) < report.clock.read.count() / 2)
    std::cerr << fmt::format(
        "the minimum, {}, is less than the time of a clock read: the clock sometimes stops\n",
        time_text(quickest->times.min()));
  const auto shortest = std::max_element(
      report.cpus.begin(), report.cpus.end(), [](const timer_result& a, const timer_result& b) {
        return a.evidence.min_delta_ns.value_or(0) < b.evidence.min_delta_ns.value_or(0);
      });
  const auto delta = shortest->evidence.min_delta_ns.value_or(0);
  if (report.how.method != timer_method::spin &&
      delta > static_cast<std::uint64_t>(report.how.interval.count()))
    std::cerr << fmt::format(
        "the timer cannot be set below {} (TIMER_SLOP): an interval of {} measures this limit\n",
        time_text(delta), format_duration(report.how.interval));
}

}  // namespace

bool is_good(const timer_report& report) {
  return std::ranges::none_of(report.cpus, probe::is_bad, &timer_result::verdict);
}

void print_tables(std::ostream& out, const timer_report& report) {
  if (report.how.method == timer_method::spin) return print_gaps(out, report);
  print_lateness(out, report);
  print_evidence(out, report);
  print_split(out, report);
}

void print_histograms(std::ostream& out, const timer_report& report) {
  for (const auto& cpu : report.cpus) {
    out << fmt::format("\nCPU {}: {} times\n", cpu.cpu, cpu.times.count());
    cli::print_lines(out, cli::histogram_lines(cpu.times, 4));
  }
}

json to_json(const timer_report& report) {
  auto document = cli::json_document("xenpv-timer", 1);
  document["guest"] = to_string(report.guest);
  document["method"] = to_string(report.how.method);
  document["interval_ns"] = report.how.interval.count();
  document["duration_ns"] = report.how.duration.count();
  document["shortest_gap_ns"] = report.how.gap.count();
  document["ended_early"] = report.ended_early;
  document["clock"] = {{"source", or_null(report.clocksource)},
                       {"read_ns", report.clock.read.count()},
                       {"system_call_ns", report.clock.system_call.count()},
                       {"is_vdso", report.clock.is_vdso()}};
  document["incarnation"] = {{"before", or_null(report.incarnation_before)},
                             {"after", or_null(report.incarnation_after)}};
  document["no_split"] = or_null(report.no_split);
  document["cpus"] = cli::json_array(report.cpus, cpu_json);
  return document;
}

void print_warnings(const timer_report& report) {
  if (report.guest == xen::guest_type::none)
    std::cerr << "not a Xen guest: the times and the evidence describe this machine's own timers\n";
  const auto& first = report.cpus.front().thread;
  if (!first.refused.empty())
    std::cerr << fmt::format("{}; the times include delays caused by other tasks in the guest\n",
                             first.refused);
  for (const auto& cpu : report.cpus)
    if (cpu.verdict != probe_verdict::verified)
      std::cerr << fmt::format("CPU {} is {}: {}\n", cpu.cpu, to_string(cpu.verdict),
                               cli::printable(fmt::format("{}", fmt::join(cpu.reasons, "; "))));
  print_clock_warnings(report);
  for (const auto& cpu : report.cpus)
    if (cpu.steal_ticks > 0)
      std::cerr << fmt::format("the hypervisor stole {} from CPU {} during the measurement\n",
                               time_text(steal_ns(cpu)), cpu.cpu);
  if (report.was_migrated())
    std::cerr << "the guest was migrated or restored during the measurement: the times come from "
                 "two hosts\n";
  if (!report.no_split.empty()) std::cerr << fmt::format("no split: {}\n", report.no_split);
  if (report.ended_early) std::cerr << "the measurement ended early\n";
}

}  // namespace xenpv::timer_app
