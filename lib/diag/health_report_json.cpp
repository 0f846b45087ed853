#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "xenpv/diag/health_report.hpp"

namespace xenpv::diag {
namespace {

using nlohmann::ordered_json;

constexpr const char* schema = "xenpv-doctor.report";
constexpr int schema_version = 1;

ordered_json percentile(const std::optional<std::uint64_t>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json to_json(const finding& of) {
  ordered_json evidence = ordered_json::array();
  for (const auto& each : of.evidence)
    evidence.push_back({{"source", each.source}, {"value", each.value}});
  return {{"id", of.id},
          {"verdict", to_string(of.verdict)},
          {"summary", of.summary},
          {"evidence", std::move(evidence)},
          {"cure", of.cure}};
}

ordered_json to_json(const guest_words& of) {
  return {{"type", of.type},
          {"control_domain", of.control_domain},
          {"xen_version", of.xen_version},
          {"kernel", of.kernel},
          {"upcall", of.upcall},
          {"event_abi", of.event_abi},
          {"clocksource", of.clocksource},
          {"clockevent", of.clockevent}};
}

ordered_json to_json(const event_counts& of) {
  ordered_json kinds = ordered_json::array();
  for (const auto& each : of.kinds)
    kinds.push_back({{"kind", each.kind}, {"counts", each.counts}});
  return {{"cpus", of.cpus}, {"kinds", std::move(kinds)}, {"upcalls", of.upcalls}};
}

ordered_json to_json(const latency_figures& of) {
  ordered_json histogram = ordered_json::array();
  for (const auto& each : of.steps)
    histogram.push_back({each.upper, each.count});
  ordered_json rounds = ordered_json::array();
  for (const auto& each : of.rounds)
    rounds.push_back(
        {{"samples", each.samples}, {"p50", percentile(each.p50)}, {"p99", percentile(each.p99)}});
  const auto& summary = of.summary;
  return {{"samples", summary.samples},
          {"min", summary.min},
          {"mean", summary.mean},
          {"p50", percentile(summary.p50)},
          {"p90", percentile(summary.p90)},
          {"p99", percentile(summary.p99)},
          {"p99_9", percentile(summary.p99_9)},
          {"max", summary.max},
          {"rounds", std::move(rounds)},
          {"histogram", std::move(histogram)}};
}

ordered_json to_json(const measurement& of) {
  ordered_json timers = ordered_json::array();
  for (const auto& each : of.timers)
    timers.push_back({{"cpu", each.cpu},
                      {"verdict", each.verdict},
                      {"reason", each.reason},
                      {"lost", each.lost},
                      {"steal_ticks", each.steal_ticks},
                      {"late_ns", to_json(each.late)}});
  ordered_json ipis = ordered_json::array();
  for (const auto& each : of.ipis)
    ipis.push_back({{"from", each.from},
                    {"to", each.to},
                    {"verdict", each.verdict},
                    {"reason", each.reason},
                    {"round_trip_ns", to_json(each.round_trips)}});
  return {{"interval_ns", of.interval_ns},
          {"scheduling", of.scheduling},
          {"timers", std::move(timers)},
          {"ipis", std::move(ipis)},
          {"no_ipis", of.no_ipis}};
}

}  // namespace

std::string to_json_text(const health_report& report) {
  ordered_json document = {{"schema", schema}, {"schema_version", schema_version}};
  document["time"] = report.time;
  document["worst"] = to_string(worst_of(report.findings));
  document["guest"] = to_json(report.guest);
  document["rows"] = ordered_json::array();
  for (const auto& each : report.findings)
    document["rows"].push_back(to_json(each));
  document["events"] = to_json(report.events);
  document["steal"] = ordered_json::array();
  for (const auto& each : report.steal)
    document["steal"].push_back({{"cpu", each.cpu}, {"ticks", each.ticks}});
  document["incarnation"] = report.incarnation ? ordered_json(*report.incarnation) : ordered_json();
  document["measured"] = report.measured ? to_json(*report.measured) : ordered_json();
  // Names of processes and devices may hold any bytes.
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace xenpv::diag
