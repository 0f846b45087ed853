#include "report.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <utility>

namespace xenpv::disk_app {
namespace {

using blkfront::queue_statistics;
using cli::json;

json operation_report(const blkfront::operation_statistics& counters) {
  return {{"requests", counters.requests},
          {"bytes", counters.bytes},
          {"errors", counters.errors},
          {"latency_ns",
           {{"mean", static_cast<std::uint64_t>(counters.latency_ns.mean())},
            {"p50", counters.latency_ns.percentile(0.5)},
            {"p99", counters.latency_ns.percentile(0.99)},
            {"p999", counters.latency_ns.percentile(0.999)},
            {"max", counters.latency_ns.max()}}}};
}

json operations_report(const queue_statistics& all) {
  json out;
  for (std::size_t i = 0; i < all.operations.size(); ++i) {
    const auto name = std::string(to_string(static_cast<blk::operation>(i)));
    out[name == "secure discard" ? "secure_discard" : name] = operation_report(all.operations[i]);
  }
  return out;
}

json queue_report(const queue_statistics& queue) {
  return {{"ring_entries", queue.ring_entries},
          {"in_flight", queue.in_flight},
          {"queued", queue.queued},
          {"pages", queue.pages},
          {"pages_used", queue.pages_used},
          {"pages_most", queue.pages_most},
          {"ring_requests", queue.ring_requests},
          {"indirect_requests", queue.indirect_requests},
          {"segments_mean", queue.segments.mean()},
          {"depth_mean", queue.depth.mean()},
          {"notifies_sent", queue.notifies_sent},
          {"notifies_suppressed", queue.notifies_suppressed},
          {"events", queue.events},
          {"spurious_events", queue.spurious_events},
          {"ring_full", queue.ring_full},
          {"pages_short", queue.pages_short},
          {"flushes_merged", queue.flushes_merged},
          {"read_modify_writes", queue.read_modify_writes},
          {"timed_out", queue.timed_out},
          {"answered_late", queue.answered_late},
          {"flushes_ignored", queue.flushes_ignored},
          {"flushes_refused", queue.flushes_refused},
          {"stalls", queue.stalls},
          {"stalled", queue.stalled}};
}

json client_report(const nbd::client_statistics& client) {
  return {{"number", client.number},
          {"peer", client.peer},
          {"tls", client.tls},
          {"user", client.user},
          {"queue", client.queue},
          {"requests", client.requests},
          {"errors", client.errors},
          {"bytes_read", client.bytes_read},
          {"bytes_written", client.bytes_written},
          {"from_heap", client.from_heap}};
}

json device_report(const served_disk& disk) {
  const auto& facts = disk.device.facts();
  const auto& shape = disk.device.shape();
  json out{{"path", facts.device},
           {"backend", facts.backend},
           {"state", to_string(disk.device.state())},
           {"size", shape.size},
           {"sector_size", shape.sector_size},
           {"read_only", shape.read_only},
           {"flush", shape.can_flush},
           {"discard", shape.can_discard},
           {"persistent_grants", facts.persistent},
           {"ring_page_order", facts.ring_page_order},
           {"segments", facts.segments},
           {"pages", facts.pages}};
  if (disk.device.failure_reason()) out["failure"] = disk.device.failure_reason()->text;
  return out;
}

json recovery_report(const blkfront::recovery_statistics& statistics) {
  json out{{"reconnects", statistics.reconnects},
           {"replayed_requests", statistics.replayed},
           {"longest_pause_ns", statistics.longest_pause.count()},
           {"last_pause_ns", statistics.last_pause.count()},
           {"last_reason", nullptr},
           {"timed_out", statistics.timed_out}};
  if (!statistics.last_reason.empty()) out["last_reason"] = statistics.last_reason;
  return out;
}

}  // namespace

async::asio::awaitable<json> make_report(served_disk& disk) {
  const auto queues = co_await disk.device.statistics();
  const auto clients = co_await disk.server.clients();
  json out;
  out["name"] = disk.name;
  out["toolstack_name"] = disk.disk.toolstack_name;
  out["devid"] = disk.disk.number;
  out["export"] = disk.export_name;
  out["pid"] = ::getpid();
  out["device"] = device_report(disk);
  out["recovery"] = recovery_report(disk.device.recovery());
  out["kernel_device"] = nullptr;
  if (!disk.kernel_device.empty()) out["kernel_device"] = disk.kernel_device;
  queue_statistics all;
  out["queues"] = json::array();
  for (const auto& queue : queues) {
    all.add(queue);
    out["queues"].push_back(queue_report(queue));
  }
  out["operations"] = operations_report(all);
  out["durability"] = {{"flush", to_string(disk.device.facts().flush)},
                       {"flushes_ignored", all.flushes_ignored},
                       {"flushes_refused", all.flushes_refused}};
  out["stalls"] = {{"count", all.stalls}, {"now", all.stalled}};
  const auto statistics = disk.server.statistics();
  json server;
  server["accepted"] = statistics.accepted;
  server["refused"] = statistics.refused;
  server["failed_handshakes"] = statistics.failed_handshakes;
  server["clients"] = json::array();
  for (const auto& client : clients)
    server["clients"].push_back(client_report(client));
  out["server"] = std::move(server);
  co_return out;
}

namespace {

void add_recovery(std::string& out, const std::vector<json>& reports) {
  const auto add = [&](std::string_view name, std::string_view help, std::string_view type,
                       auto value_of) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    for (const auto& report : reports)
      out += fmt::format("{}{{disk=\"{}\"}} {}\n", name, report.at("name").get<std::string>(),
                         value_of(report));
  };
  const auto counter = [](const char* key) {
    return [key](const json& report) { return report.at("recovery").at(key).get<std::uint64_t>(); };
  };
  add("xenpv_disk_connected", "Whether the backend is connected", "gauge", [](const json& report) {
    return report.at("device").at("state").get<std::string>() == "connected" ? 1 : 0;
  });
  add("xenpv_disk_reconnects_total", "Reconnects after the loss of a backend", "counter",
      counter("reconnects"));
  add("xenpv_disk_replayed_requests_total", "Requests resent after the loss of a backend",
      "counter", counter("replayed_requests"));
  add("xenpv_disk_longest_pause_seconds", "Longest time without a backend", "gauge",
      [](const json& report) {
        const auto pause = report.at("recovery").at("longest_pause_ns").get<std::uint64_t>();
        return fmt::format("{:.9f}", static_cast<double>(pause) / 1e9);
      });
}

void add_stalls_and_flushes(std::string& out, const std::vector<json>& reports) {
  const auto add = [&](std::string_view name, std::string_view help, std::string_view type,
                       const char* section, const char* key) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    for (const auto& report : reports) {
      const auto& value = report.at(section).at(key);
      out += fmt::format(
          "{}{{disk=\"{}\"}} {}\n", name, report.at("name").get<std::string>(),
          value.is_boolean() ? value.get<bool>() ? 1U : 0U : value.get<std::uint64_t>());
    }
  };
  add("xenpv_disk_stalls_total", "Periods in which the backend did not respond", "counter",
      "stalls", "count");
  add("xenpv_disk_stalled", "Whether the backend is stalled now", "gauge", "stalls", "now");
  add("xenpv_disk_flushes_ignored_total", "Flushes answered without the backend", "counter",
      "durability", "flushes_ignored");
  add("xenpv_disk_flushes_refused_total",
      "Flushes that failed because a lost backend may have lost writes", "counter", "durability",
      "flushes_refused");
}

}  // namespace

std::string to_prometheus(const std::vector<json>& reports) {
  struct series {
    const char* name;
    const char* help;
    const char* type;
    const char* key;
    double scale;
  };
  constexpr std::array<series, 3> counters = {
      series{"xenpv_disk_requests_total", "Requests answered", "counter", "requests", 1},
      series{"xenpv_disk_bytes_total", "Bytes of requests that succeeded", "counter", "bytes", 1},
      series{"xenpv_disk_errors_total", "Requests that failed", "counter", "errors", 1}};
  std::string out;
  for (const auto& metric : counters) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name,
                       metric.type);
    for (const auto& report : reports)
      for (const auto& [operation, values] : report.at("operations").items())
        out += fmt::format("{}{{disk=\"{}\",operation=\"{}\"}} {}\n", metric.name,
                           report.at("name").get<std::string>(), operation,
                           values.at(metric.key).get<std::uint64_t>());
  }
  out +=
      "# HELP xenpv_disk_latency_seconds Time from submission to completion\n"
      "# TYPE xenpv_disk_latency_seconds summary\n";
  constexpr std::array<std::pair<const char*, const char*>, 3> quantiles = {
      {{"0.5", "p50"}, {"0.99", "p99"}, {"0.999", "p999"}}};
  for (const auto& report : reports)
    for (const auto& [operation, values] : report.at("operations").items())
      for (const auto& [quantile, key] : quantiles)
        out += fmt::format(
            "xenpv_disk_latency_seconds{{disk=\"{}\",operation=\"{}\",quantile=\"{}\"}} {:.9f}\n",
            report.at("name").get<std::string>(), operation, quantile,
            static_cast<double>(values.at("latency_ns").at(key).get<std::uint64_t>()) / 1e9);
  add_recovery(out, reports);
  add_stalls_and_flushes(out, reports);
  out += "# HELP xenpv_disk_clients NBD clients connected\n# TYPE xenpv_disk_clients gauge\n";
  for (const auto& report : reports)
    out +=
        fmt::format("xenpv_disk_clients{{disk=\"{}\"}} {}\n", report.at("name").get<std::string>(),
                    report.at("server").at("clients").size());
  return out;
}

}  // namespace xenpv::disk_app
