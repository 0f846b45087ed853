#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <limits>
#include <map>
#include <ostream>

#include "base/enum_name.hpp"
#include "base/latency_summary.hpp"
#include "base/parse.hpp"
#include "cli/latency.hpp"
#include "cli/table.hpp"
#include "probe/heat_map.hpp"

namespace xenpv::ipi_app {
namespace {

using cli::cells_of;
using cli::or_null;
using cli::right_column;
using cli::time_text;
using probe::ipi_broadcast;
using probe::ipi_counts;
using probe::ipi_method;
using probe::ipi_pair;
using probe::probe_verdict;

std::string_view title_of(ipi_method method) {
  return enum_name<ipi_method::eventfd>(
      method, "interrupt a running CPU and wait for its reply (membarrier)",
      "wake an idle CPU and be woken by it (futex)",
      "wake an idle CPU and be woken by it (eventfd)");
}

/// Formats the median, with a mark unless the counts verify it. Shows the median even for few
/// samples, because a pair without a figure would be less useful.
std::string median_text(const ipi_pair& pair) {
  if (pair.times.count() == 0) return "none";
  auto text = time_text(pair.times.percentile(0.5));
  return pair.verdict == probe_verdict::verified ? text : text + " ?";
}

std::string tip_of(const ipi_pair& pair) {
  const auto summary = summary_of(pair.times);
  if (summary.samples == 0)
    return fmt::format("CPU {} to CPU {}: {}", pair.from, pair.to, pair.reason);
  return fmt::format("CPU {} to CPU {}: min {}, {}max {}; {} batches discarded", pair.from, pair.to,
                     time_text(summary.min),
                     summary.p99 ? "p99 " + time_text(summary.p99) + ", " : "",
                     time_text(summary.max), pair.thrown_away);
}

probe::heat_map map_of(const ipi_report& report, const ipi_matrix& matrix) {
  auto map = probe::cpu_pairs_map(report.from, report.to);
  map.title = fmt::format("Time to {}: medians", title_of(matrix.method));
  map.note = "Grey: the baseline, without an IPI. Hatched: not verified by the counts.";
  for (const auto& pair : matrix.pairs) {
    auto& cell = map.cells.emplace_back();
    cell.doubtful = pair.verdict != probe_verdict::verified;
    cell.label = median_text(pair);
    cell.tip = tip_of(pair);
    cell.is_baseline = pair.from == pair.to;
    if (pair.times.count() > 0) cell.value = static_cast<double>(pair.times.percentile(0.5));
  }
  // If the measurement ended early, the missing cells are empty.
  map.cells.resize(map.rows.size() * map.columns.size());
  return map;
}

std::optional<std::uint64_t> counted(const ipi_counts& counts) {
  return counts.is_known() ? std::optional(counts.wakes()) : std::nullopt;
}

std::vector<std::string> figures(const fine_histogram& times) {
  const auto summary = summary_of(times);
  if (summary.samples == 0) return std::vector<std::string>(5);
  return {time_text(summary.min), time_text(summary.p50), time_text(summary.p90),
          time_text(summary.p99), time_text(summary.max)};
}

/// Creates an empty table of results; `target` is the title of the second column.
cli::table make_table(const char* target) {
  std::vector<cli::column> columns;
  for (const auto* title :
       {"FROM", target, "CALLS", "MIN", "P50", "P90", "P99", "MAX", "IPIS", "DISCARDED"})
    columns.push_back(right_column(title));
  columns.push_back({"VERDICT"});
  return cli::table(std::move(columns));
}

void add_row(cli::table& table, const probe::ipi_measurement& result, unsigned from,
             std::uint64_t target, const ipi_counts& counts) {
  table.add_row(cells_of(from, target, result.times.count(), figures(result.times), counted(counts),
                         fmt::format("{}/{}", result.thrown_away, result.thrown_away + result.kept),
                         to_string(result.verdict)));
}

void print_pairs(std::ostream& out, const ipi_matrix& matrix) {
  auto table = make_table("TO");
  for (const auto& pair : matrix.pairs)
    add_row(table, pair, pair.from, pair.to, pair.there);
  table.print(out);
}

void print_broadcasts(std::ostream& out, const ipi_report& report) {
  if (report.broadcasts.empty()) return;
  out << "\ninterrupt several running CPUs at once and wait for all replies (membarrier):\n";
  auto table = make_table("TARGETS");
  for (const auto& broadcast : report.broadcasts) {
    ipi_counts total;
    for (const auto& counts : broadcast.there)
      total += counts;
    add_row(table, broadcast, broadcast.from, broadcast.to.size(), total);
  }
  table.print(out);
}

/// Describes the IPI type and its evidence.
std::string type_text(const ipi_report& report) {
  const auto facts = type_of(report);
  auto text = fmt::format("IPIs are {}: {}", to_string(facts.type), facts.evidence);
  if (report.cpuid_after && report.guest != xen::guest_type::pv)
    text += fmt::format("; the processor virtualises {}",
                        report.cpuid_after->x2apic_is_virtual
                            ? "APIC registers and x2APIC accesses"
                            : (report.cpuid_after->apic_access_is_virtual ? "the APIC registers"
                                                                          : "no APIC accesses"));
  return text;
}

cli::json counts_json(const ipi_counts& counts) {
  return {{"resched", or_null(counts.resched)},
          {"callfunc", or_null(counts.callfunc)},
          {"callfuncsingle", or_null(counts.callfuncsingle)},
          {"RES", or_null(counts.res)},
          {"CAL", or_null(counts.cal)},
          {"GIC-resched", or_null(counts.gic_resched)},
          {"GIC-callfunc", or_null(counts.gic_callfunc)}};
}

void add_result(cli::json& object, const probe::ipi_measurement& result) {
  object["verdict"] = to_string(result.verdict);
  object["reason"] = result.reason;
  object["scheduling"] = {{"policy", result.thread.is_fifo ? "SCHED_FIFO" : "SCHED_OTHER"},
                          {"priority", result.thread.priority}};
  object["batches_kept"] = result.kept;
  object["batches_thrown_away"] = result.thrown_away;
  object["calls"] = result.calls;
  object["round_trip_ns"] = cli::latency_json(result.times);
}

cli::json pair_json(const ipi_pair& pair) {
  cli::json out = {{"method", to_string(pair.method)},
                   {"from", pair.from},
                   {"to", pair.to},
                   {"is_baseline", pair.from == pair.to}};
  add_result(out, pair);
  out["counted"] = {{"to", counts_json(pair.there)}, {"from", counts_json(pair.back)}};
  return out;
}

cli::json broadcast_json(const ipi_broadcast& broadcast) {
  cli::json out = {{"from", broadcast.from}, {"to", broadcast.to}};
  add_result(out, broadcast);
  out["counted"] = cli::json_array(broadcast.there, counts_json);
  return out;
}

std::vector<const probe::ipi_measurement*> all_results(const ipi_report& report) {
  std::vector<const probe::ipi_measurement*> out;
  for (const auto& matrix : report.matrices)
    for (const auto& pair : matrix.pairs)
      out.push_back(&pair);
  for (const auto& broadcast : report.broadcasts)
    out.push_back(&broadcast);
  return out;
}

}  // namespace

probe::ipi_type_facts type_of(const ipi_report& report) {
  std::vector<ipi_counts> counted;
  for (const auto& matrix : report.matrices)
    for (const auto& pair : matrix.pairs)
      if (pair.from != pair.to) counted.insert(counted.end(), {pair.there, pair.back});
  for (const auto& broadcast : report.broadcasts)
    counted.insert(counted.end(), broadcast.there.begin(), broadcast.there.end());
  return probe::type_of(counted);
}

bool is_good(const ipi_report& report) {
  return std::ranges::none_of(all_results(report), [](const probe::ipi_measurement* result) {
    return is_bad(result->verdict);
  });
}

void print_tables(std::ostream& out, const ipi_report& report, bool in_colour) {
  const char* gap = "";
  for (const auto& matrix : report.matrices) {
    out << fmt::format("{}{}: medians\n", gap, title_of(matrix.method))
        << to_text(map_of(report, matrix), in_colour) << '\n';
    print_pairs(out, matrix);
    gap = "\n";
  }
  print_broadcasts(out, report);
  out << '\n' << type_text(report) << '\n';
}

cli::json to_json(const ipi_report& report) {
  const auto type = type_of(report);
  auto document = cli::json_document("xenpv-ipi", 1);
  document["guest"] = to_string(report.guest);
  document["count"] = report.options.count;
  document["batch"] = report.options.batch;
  document["rest_ns"] = report.options.rest.count();
  document["ended_early"] = report.ended_early;
  document["clock"] = {{"read_ns", report.clock.read.count()},
                       {"system_call_ns", report.clock.system_call.count()},
                       {"is_vdso", report.clock.is_vdso()}};
  document["steal_ns"] = report.steal_ticks * 10'000'000;
  document["incarnation"] = nullptr;
  document["apic"] = nullptr;
  if (report.cpuid_before && report.cpuid_after) {
    document["incarnation"] = {{"before", report.cpuid_before->incarnation},
                               {"after", report.cpuid_after->incarnation}};
    document["apic"] = {{"registers_are_virtual", report.cpuid_after->apic_access_is_virtual},
                        {"x2apic_is_virtual", report.cpuid_after->x2apic_is_virtual}};
  }
  document["type"] = {{"value", to_string(type.type)}, {"evidence", type.evidence}};
  document["from"] = report.from;
  document["to"] = report.to;
  document["pairs"] = cli::json::array();
  for (const auto& matrix : report.matrices)
    for (const auto& pair : matrix.pairs)
      document["pairs"].push_back(pair_json(pair));
  document["broadcasts"] = cli::json_array(report.broadcasts, broadcast_json);
  return document;
}

std::string to_svg(const ipi_report& report, const ipi_matrix& matrix) {
  return probe::to_svg(map_of(report, matrix));
}

void print_warnings(const ipi_report& report) {
  if (report.guest == xen::guest_type::none)
    std::cerr << "not a Xen guest: the evidence comes from the rows of native IPIs\n";
  std::map<std::string, unsigned> warnings;
  std::uint64_t minimum = std::numeric_limits<std::uint64_t>::max();
  for (const auto* result : all_results(report)) {
    if (result->times.count() > 0) minimum = std::min(minimum, result->times.min());
    if (!result->thread.refused.empty())
      ++warnings[result->thread.refused + "; the target thread may not be running during a call"];
    if (result->verdict != probe_verdict::verified)
      ++warnings[fmt::format("{}: {}", to_string(result->verdict), result->reason)];
  }
  for (const auto& [warning, count] : warnings)
    std::cerr << fmt::format("{} times: {}\n", count, cli::printable(warning));
  if (minimum < static_cast<std::uint64_t>(report.clock.read.count()) / 2)
    std::cerr << fmt::format(
        "the minimum, {}, is less than the time of a clock read ({}): the clock sometimes stops\n",
        time_text(minimum), format_duration(report.clock.read));
  if (report.steal_ticks > 0)
    std::cerr << fmt::format("the hypervisor stole {} of CPU time during the measurement\n",
                             time_text(report.steal_ticks * 10'000'000));
  if (report.cpuid_before && report.cpuid_after &&
      report.cpuid_before->incarnation != report.cpuid_after->incarnation)
    std::cerr << "the guest was migrated or restored during the measurement: the times come from "
                 "two hosts\n";
  if (report.ended_early) std::cerr << "the measurement ended early\n";
}

}  // namespace xenpv::ipi_app
