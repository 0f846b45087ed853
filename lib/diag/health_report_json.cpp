#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "xenpv/diag/health_report.hpp"

namespace xenpv::diag {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* schema = "xenpv-doctor.report";
constexpr int schema_version = 1;

json percentile(const std::optional<std::uint64_t>& value) {
  return value ? json(*value) : json();
}

json to_json(const finding& of) {
  json evidence = json::array();
  for (const auto& each : of.evidence)
    evidence.push_back({{"source", each.source}, {"value", each.value}});
  return {{"id", of.id},
          {"verdict", to_string(of.verdict)},
          {"summary", of.summary},
          {"evidence", std::move(evidence)},
          {"cure", of.cure}};
}

json to_json(const guest_words& of) {
  return {{"type", of.type},
          {"control_domain", of.control_domain},
          {"xen_version", of.xen_version},
          {"kernel", of.kernel},
          {"upcall", of.upcall},
          {"event_abi", of.event_abi},
          {"clocksource", of.clocksource},
          {"clockevent", of.clockevent}};
}

json to_json(const event_counts& of) {
  json kinds = json::array();
  for (const auto& each : of.kinds)
    kinds.push_back({{"kind", each.kind}, {"counts", each.counts}});
  return {{"cpus", of.cpus}, {"kinds", std::move(kinds)}, {"upcalls", of.upcalls}};
}

json to_json(const latency_figures& of) {
  json histogram = json::array();
  for (const auto& each : of.steps)
    histogram.push_back({each.upper, each.count});
  json rounds = json::array();
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

json to_json(const measurement& of) {
  json timers = json::array();
  for (const auto& each : of.timers)
    timers.push_back({{"cpu", each.cpu},
                      {"verdict", each.verdict},
                      {"reason", each.reason},
                      {"lost", each.lost},
                      {"steal_ticks", each.steal_ticks},
                      {"late_ns", to_json(each.late)}});
  json ipis = json::array();
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
  json document = {{"schema", schema}, {"schema_version", schema_version}};
  document["time"] = report.time;
  document["worst"] = to_string(worst_of(report.findings));
  document["guest"] = to_json(report.guest);
  document["rows"] = json::array();
  for (const auto& each : report.findings)
    document["rows"].push_back(to_json(each));
  document["events"] = to_json(report.events);
  document["steal"] = json::array();
  for (const auto& each : report.steal)
    document["steal"].push_back({{"cpu", each.cpu}, {"ticks", each.ticks}});
  document["incarnation"] = report.incarnation ? json(*report.incarnation) : json();
  document["measured"] = report.measured ? to_json(*report.measured) : json();
  // Names of processes and devices may hold any bytes.
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace xenpv::diag
