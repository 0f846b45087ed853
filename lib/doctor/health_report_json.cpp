#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {
namespace {

using nlohmann::ordered_json;

constexpr const char* schema = "xenpv-doctor.report";
constexpr int schema_version = 1;

ordered_json percentile(const std::optional<std::uint64_t>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json to_json(const check_result& result) {
  ordered_json evidence = ordered_json::array();
  for (const auto& entry : result.evidence)
    evidence.push_back({{"source", entry.source}, {"value", entry.value}});
  return {{"id", result.id},
          {"verdict", to_string(result.verdict)},
          {"summary", result.summary},
          {"evidence", std::move(evidence)},
          {"cure", result.remedy}};
}

ordered_json to_json(const guest_summary& guest) {
  return {{"type", guest.type},
          {"control_domain", guest.control_domain},
          {"xen_version", guest.xen_version},
          {"kernel", guest.kernel},
          {"upcall", guest.upcall},
          {"event_abi", guest.event_abi},
          {"clocksource", guest.clocksource},
          {"clockevent", guest.clockevent}};
}

ordered_json to_json(const event_counts& events) {
  ordered_json kinds = ordered_json::array();
  for (const auto& kind : events.kinds)
    kinds.push_back({{"kind", kind.kind}, {"counts", kind.counts}});
  return {{"cpus", events.cpus}, {"kinds", std::move(kinds)}, {"upcalls", events.upcalls}};
}

ordered_json to_json(const probe::latency_figures& figures) {
  ordered_json histogram = ordered_json::array();
  for (const auto& step : figures.steps)
    histogram.push_back({step.upper, step.count});
  ordered_json rounds = ordered_json::array();
  for (const auto& round : figures.rounds)
    rounds.push_back({{"samples", round.samples},
                      {"p50", percentile(round.p50)},
                      {"p99", percentile(round.p99)}});
  const auto& summary = figures.summary;
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

ordered_json to_json(const measurement& measured) {
  ordered_json timers = ordered_json::array();
  for (const auto& timer : measured.timers)
    timers.push_back({{"cpu", timer.cpu},
                      {"verdict", timer.verdict},
                      {"reason", timer.reason},
                      {"lost", timer.lost},
                      {"steal_ticks", timer.steal_ticks},
                      {"late_ns", to_json(timer.late)}});
  ordered_json ipis = ordered_json::array();
  for (const auto& pair : measured.ipis)
    ipis.push_back({{"from", pair.from},
                    {"to", pair.to},
                    {"verdict", pair.verdict},
                    {"reason", pair.reason},
                    {"round_trip_ns", to_json(pair.round_trips)}});
  return {{"interval_ns", measured.interval_ns},
          {"scheduling", measured.scheduling},
          {"timers", std::move(timers)},
          {"ipis", std::move(ipis)},
          {"no_ipis", measured.no_ipis}};
}

}  // namespace

std::string to_json_text(const health_report& report) {
  ordered_json document = {{"schema", schema}, {"schema_version", schema_version}};
  document["time"] = report.time;
  document["worst"] = to_string(worst_of(report.check_results));
  document["guest"] = to_json(report.guest);
  document["rows"] = ordered_json::array();
  for (const auto& result : report.check_results)
    document["rows"].push_back(to_json(result));
  document["events"] = to_json(report.events);
  document["steal"] = ordered_json::array();
  for (const auto& steal : report.steal)
    document["steal"].push_back({{"cpu", steal.cpu}, {"ticks", steal.ticks}});
  document["incarnation"] = report.incarnation ? ordered_json(*report.incarnation) : ordered_json();
  document["measured"] = report.measured ? to_json(*report.measured) : ordered_json();
  // Process and device names may contain arbitrary bytes.
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace xenpv::doctor
