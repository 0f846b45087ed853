#include "ping_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <ostream>

#include "cli/latency.hpp"
#include "cli/table.hpp"
#include "probe/heat_map.hpp"

namespace xenpv::evtchn_app {
namespace {

using cli::right_column;
using probe::pair_result;
using probe::probe_verdict;

/// With fewer samples, p99 equals the maximum.
constexpr std::uint64_t samples_for_p99 = 100;

std::optional<std::uint64_t> p99_of(const histogram& times) {
  return times.count() < samples_for_p99 ? std::nullopt : std::optional(times.percentile(0.99));
}

/// Formats the median, with a mark unless the counts verify it.
std::string median_text(const pair_result& pair) {
  if (pair.round_trips.count() == 0) return "failed";
  auto text = cli::time_text(pair.round_trips.percentile(0.5));
  if (pair.verdict == probe_verdict::verified) return text;
  return text + (pair.verdict == probe_verdict::refuted ? " !" : " ?");
}

void print_matrix(std::ostream& out, const ping_report& report) {
  std::vector<cli::column> columns = {{"FROM"}};
  for (const auto cpu : report.to)
    columns.push_back(right_column(fmt::format("TO-{}", cpu)));
  cli::table table(std::move(columns));
  for (std::size_t row = 0; row < report.from.size(); ++row) {
    auto cells = cli::cells_of(report.from[row]);
    for (std::size_t column = 0; column < report.to.size(); ++column)
      cells.push_back(median_text(report.pairs[row * report.to.size() + column]));
    table.add_row(std::move(cells));
  }
  table.print(out);
}

void print_pairs(std::ostream& out, const ping_report& report) {
  cli::table table({right_column("FROM"), right_column("TO"), right_column("COUNT"),
                    right_column("MIN"), right_column("P50"), right_column("P99"),
                    right_column("MAX"), cli::column{"VERDICT"}});
  for (const auto& pair : report.pairs) {
    const auto& times = pair.round_trips;
    std::vector<std::string> figures(4);
    if (times.count() > 0)
      figures = {cli::time_text(times.min()), cli::time_text(times.percentile(0.5)),
                 cli::time_text(p99_of(times)), cli::time_text(times.max())};
    table.add_row(
        cli::cells_of(pair.from, pair.to, times.count(), figures, to_string(pair.verdict)));
  }
  table.print(out);
}

cli::json pair_json(const pair_result& pair) {
  const auto& times = pair.round_trips;
  cli::json round_trip = nullptr;
  if (times.count() > 0) {
    round_trip = {{"count", times.count()},
                  {"min", times.min()},
                  {"mean", static_cast<std::uint64_t>(times.mean())},
                  {"p50", times.percentile(0.5)},
                  {"p99", cli::or_null(p99_of(times))},
                  {"max", times.max()},
                  {"histogram", cli::histogram_json(times)}};
  }
  return {{"from", pair.from},
          {"to", pair.to},
          {"verdict", to_string(pair.verdict)},
          {"reason", pair.reason},
          {"events_expected", pair.expected},
          {"events_counted",
           {{"to", pair.counted_there},
            {"from", pair.counted_back},
            {"elsewhere", pair.counted_elsewhere}}},
          {"round_trip_ns", std::move(round_trip)}};
}

std::string mode_text(const ping_report& report) {
  return report.options.spin ? "spinning" : "blocking";
}

std::string scheduling_text(const ping_report& report) {
  return report.options.fifo_priority ? fmt::format("SCHED_FIFO {}", *report.options.fifo_priority)
                                      : std::string("SCHED_OTHER");
}

}  // namespace

void print_tables(std::ostream& out, const ping_report& report) {
  out << fmt::format("round trips over an event channel, {}, {}: medians\n", mode_text(report),
                     scheduling_text(report));
  print_matrix(out, report);
  out << '\n';
  print_pairs(out, report);
}

cli::json to_json(const ping_report& report) {
  auto document = cli::json_document("xenpv-evtchn.ping", 1);
  document["measured"] = "round trip";
  document["mode"] = report.options.spin ? "spin" : "block";
  document["scheduling"] = scheduling_text(report);
  document["count"] = report.options.count;
  document["warm_up"] = report.options.warm_up;
  document["steal_ticks"] = report.steal_ticks;
  document["from"] = report.from;
  document["to"] = report.to;
  document["pairs"] = cli::json_array(report.pairs, pair_json);
  return document;
}

std::string to_svg(const ping_report& report) {
  auto map = probe::cpu_pairs_map(report.from, report.to);
  map.title = fmt::format("Event channel round trips, median of {}, {}", report.options.count,
                          mode_text(report));
  map.note = std::ranges::count(report.pairs, probe_verdict::verified, &pair_result::verdict) > 0
                 ? "Grey: the baseline, without a wake-up. Hatched: not verified by the counts."
                 : "No value is verified by the counts in /proc/interrupts.";
  for (const auto& pair : report.pairs) {
    auto& cell = map.cells.emplace_back();
    const auto& times = pair.round_trips;
    cell.is_baseline = pair.from == pair.to;
    cell.doubtful = pair.verdict != probe_verdict::verified;
    cell.label = times.count() == 0 ? "failed" : cli::time_text(times.percentile(0.5));
    const auto p99 = cli::time_text(p99_of(times));
    cell.tip = fmt::format("CPU {} to CPU {}: min {}, {}max {}; {}", pair.from, pair.to,
                           cli::time_text(times.min()), p99.empty() ? "" : "p99 " + p99 + ", ",
                           cli::time_text(times.max()), pair.reason);
    if (times.count() > 0) cell.value = static_cast<double>(times.percentile(0.5));
  }
  return probe::to_svg(map);
}

void print_warnings(const ping_report& report) {
  std::map<std::string, unsigned> reasons;
  for (const auto& pair : report.pairs)
    if (pair.verdict != probe_verdict::verified)
      ++reasons[fmt::format("{}: {}", to_string(pair.verdict), pair.reason)];
  // The counts in the reasons differ from pair to pair, so print only some reasons; --json contains
  // all of them.
  constexpr std::size_t max_reasons = 10;
  std::size_t printed = 0;
  for (const auto& [reason, pairs] : reasons) {
    if (++printed > max_reasons) {
      std::cerr << fmt::format("and {} more reasons, see --json\n", reasons.size() - max_reasons);
      break;
    }
    std::cerr << fmt::format("{} of {} pairs {}\n", pairs, report.pairs.size(),
                             cli::printable(reason));
  }
  if (report.steal_ticks > 0)
    std::cerr << fmt::format("the hypervisor stole {} ms of CPU time during the measurement\n",
                             report.steal_ticks * 10);
}

}  // namespace xenpv::evtchn_app
