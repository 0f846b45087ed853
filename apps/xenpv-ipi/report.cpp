#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <limits>
#include <map>
#include <ostream>

#include "xenpv/base/latency_summary.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/cli/latency.hpp"
#include "xenpv/cli/table.hpp"
#include "xenpv/diag/heat_map.hpp"

namespace xenpv::ipi_app {
namespace {

using cli::time_text;
using diag::ipi_broadcast;
using diag::ipi_counts;
using diag::ipi_method;
using diag::ipi_pair;
using diag::probe_verdict;

std::string_view title_of(ipi_method method) {
  switch (method) {
    case ipi_method::membarrier:
      return "interrupt a running CPU and hear from it (membarrier)";
    case ipi_method::futex:
      return "wake an idle CPU and be woken by it (futex)";
    case ipi_method::eventfd:
      return "wake an idle CPU and be woken by it (eventfd)";
  }
  return "";
}

/// A median with a mark when nothing proves that it is this pair's. The matrix has it of few
/// samples too: a pair without a figure says less.
std::string median_text(const ipi_pair& pair) {
  if (pair.times.count() == 0) return "none";
  auto text = time_text(pair.times.percentile(0.5));
  return pair.verdict == probe_verdict::verified ? text : text + " ?";
}

std::string tip_of(const ipi_pair& pair) {
  const auto of = summary_of(pair.times);
  if (of.samples == 0) return fmt::format("CPU {} to CPU {}: {}", pair.from, pair.to, pair.reason);
  return fmt::format("CPU {} to CPU {}: min {}, {}max {}; {} batches thrown away", pair.from,
                     pair.to, time_text(of.min), of.p99 ? "p99 " + time_text(of.p99) + ", " : "",
                     time_text(of.max), pair.thrown_away);
}

diag::heat_map map_of(const ipi_report& report, const ipi_matrix& matrix) {
  auto map = diag::cpu_pairs_map(report.from, report.to);
  map.title = fmt::format("To {}: medians", title_of(matrix.method));
  map.note = "On the diagonal no IPI is sent: the baseline. Hatched: not verified by the counts.";
  for (const auto& pair : matrix.pairs) {
    auto& cell = map.cells.emplace_back();
    cell.doubtful = pair.verdict != probe_verdict::verified;
    cell.label = median_text(pair);
    cell.tip = tip_of(pair);
    if (pair.times.count() > 0) cell.value = static_cast<double>(pair.times.percentile(0.5));
  }
  // Ended early: what is missing.
  map.cells.resize(map.rows.size() * map.columns.size());
  return map;
}

std::string counted_text(const ipi_counts& counts) {
  return counts.is_known() ? fmt::format("{}", counts.wakes()) : std::string();
}

std::vector<std::string> figures(const fine_histogram& times) {
  const auto of = summary_of(times);
  if (of.samples == 0) return std::vector<std::string>(5);
  return {time_text(of.min), time_text(of.p50), time_text(of.p90), time_text(of.p99),
          time_text(of.max)};
}

std::vector<cli::column> columns_of(std::vector<cli::column> first, const char* counted) {
  for (const auto* title : {"CALLS", "MIN", "P50", "P90", "P99", "MAX", counted, "THROWN-AWAY"})
    first.push_back({title, cli::align::right});
  first.push_back({"VERDICT"});
  return first;
}

template <class Result>
std::vector<std::string> cells_of(std::vector<std::string> first, const Result& result,
                                  std::string counted) {
  first.push_back(fmt::format("{}", result.times.count()));
  for (auto& figure : figures(result.times))
    first.push_back(std::move(figure));
  first.push_back(std::move(counted));
  first.push_back(fmt::format("{}/{}", result.thrown_away, result.thrown_away + result.kept));
  first.push_back(std::string(to_string(result.verdict)));
  return first;
}

void print_pairs(std::ostream& out, const ipi_matrix& matrix) {
  cli::table table(columns_of({{"FROM", cli::align::right}, {"TO", cli::align::right}}, "IPIS"));
  for (const auto& pair : matrix.pairs)
    table.add_row(cells_of({fmt::format("{}", pair.from), fmt::format("{}", pair.to)}, pair,
                           counted_text(pair.there)));
  table.print(out);
}

void print_broadcasts(std::ostream& out, const ipi_report& report) {
  if (report.broadcasts.empty()) return;
  out << "\ninterrupt several running CPUs at once and hear from all (membarrier):\n";
  cli::table table(
      columns_of({{"FROM", cli::align::right}, {"TARGETS", cli::align::right}}, "IPIS"));
  for (const auto& each : report.broadcasts) {
    ipi_counts all;
    for (const auto& there : each.there)
      all += there;
    table.add_row(cells_of({fmt::format("{}", each.from), fmt::format("{}", each.to.size())}, each,
                           counted_text(all)));
  }
  table.print(out);
}

/// In words.
std::string type_text(const ipi_report& report) {
  const auto facts = type_of(report);
  auto text = fmt::format("IPIs are {}: {}", to_string(facts.type), facts.evidence);
  if (report.cpuid_after && report.guest != xen::guest_type::pv)
    text += fmt::format(
        "; the processor virtualises {} of the APIC",
        report.cpuid_after->x2apic_is_virtual
            ? "registers and x2APIC accesses"
            : (report.cpuid_after->apic_access_is_virtual ? "the registers" : "nothing"));
  return text;
}

cli::json count_json(const std::optional<std::uint64_t>& value) {
  return value ? cli::json(*value) : cli::json();
}

cli::json counts_json(const ipi_counts& of) {
  return {{"resched", count_json(of.resched)},
          {"callfunc", count_json(of.callfunc)},
          {"callfuncsingle", count_json(of.callfuncsingle)},
          {"RES", count_json(of.res)},
          {"CAL", count_json(of.cal)}};
}

template <class Result>
void add_result(cli::json& to, const Result& result) {
  to["verdict"] = to_string(result.verdict);
  to["reason"] = result.reason;
  to["scheduling"] = {{"policy", result.thread.is_fifo ? "SCHED_FIFO" : "SCHED_OTHER"},
                      {"priority", result.thread.priority}};
  to["batches_kept"] = result.kept;
  to["batches_thrown_away"] = result.thrown_away;
  to["calls"] = result.calls;
  to["round_trip_ns"] = cli::latency_json(result.times);
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

cli::json broadcast_json(const ipi_broadcast& each) {
  cli::json out = {{"from", each.from}, {"to", each.to}};
  add_result(out, each);
  out["counted"] = cli::json::array();
  for (const auto& there : each.there)
    out["counted"].push_back(counts_json(there));
  return out;
}

/// Calls `look` with each result.
template <class Look>
void for_each_result(const ipi_report& report, Look look) {
  for (const auto& matrix : report.matrices)
    for (const auto& pair : matrix.pairs)
      look(pair);
  for (const auto& each : report.broadcasts)
    look(each);
}

}  // namespace

diag::ipi_type_facts type_of(const ipi_report& report) {
  std::vector<ipi_counts> counted;
  for (const auto& matrix : report.matrices)
    for (const auto& pair : matrix.pairs)
      if (pair.from != pair.to) counted.insert(counted.end(), {pair.there, pair.back});
  for (const auto& each : report.broadcasts)
    counted.insert(counted.end(), each.there.begin(), each.there.end());
  return diag::type_of(counted);
}

bool is_good(const ipi_report& report) {
  bool good = true;
  for_each_result(report, [&](const auto& result) {
    good =
        good && result.verdict != probe_verdict::failed && result.verdict != probe_verdict::refuted;
  });
  return good;
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
  document["count"] = report.how.count;
  document["batch"] = report.how.batch;
  document["rest_ns"] = report.how.rest.count();
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
  document["broadcasts"] = cli::json::array();
  for (const auto& each : report.broadcasts)
    document["broadcasts"].push_back(broadcast_json(each));
  return document;
}

std::string to_svg(const ipi_report& report, const ipi_matrix& matrix) {
  return diag::to_svg(map_of(report, matrix));
}

void tell_doubts(const ipi_report& report) {
  if (report.guest == xen::guest_type::none)
    std::cerr << "not a Xen guest: the evidence is from the rows RES and CAL\n";
  std::map<std::string, unsigned> doubts;
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for_each_result(report, [&](const auto& result) {
    if (result.times.count() > 0) least = std::min(least, result.times.min());
    if (!result.thread.refused.empty())
      ++doubts[result.thread.refused + "; calls may find nobody running"];
    if (result.verdict != probe_verdict::verified)
      ++doubts[fmt::format("{}: {}", to_string(result.verdict), result.reason)];
  });
  for (const auto& [doubt, count] : doubts)
    std::cerr << fmt::format("{} times {}\n", count, cli::printable(doubt));
  if (least < static_cast<std::uint64_t>(report.clock.read.count()) / 2)
    std::cerr << fmt::format(
        "the least, {}, is less than a look at the clock takes ({}): the clock stood still now and "
        "then\n",
        time_text(least), format_duration(report.clock.read));
  if (report.steal_ticks > 0)
    std::cerr << fmt::format("the hypervisor took {} of CPU time meanwhile\n",
                             time_text(report.steal_ticks * 10'000'000));
  if (report.cpuid_before && report.cpuid_after &&
      report.cpuid_before->incarnation != report.cpuid_after->incarnation)
    std::cerr << "the guest was migrated or restored meanwhile: the times are of two hosts\n";
  if (report.ended_early) std::cerr << "ended early\n";
}

}  // namespace xenpv::ipi_app
