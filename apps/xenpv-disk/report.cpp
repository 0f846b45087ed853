#include "report.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

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

asio::awaitable<json> make_report(served_disk& disk) {
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

/// A Prometheus metric: the value of `key` in a section of the report, or in each of its
/// operations.
struct metric {
  std::string_view name;
  std::string_view help;
  std::string_view section;
  std::string_view key;
};
constexpr auto metrics = std::to_array<metric>(
    {{"requests_total", "Requests completed", "operations", "requests"},
     {"bytes_total", "Bytes of requests that succeeded", "operations", "bytes"},
     {"errors_total", "Requests that failed", "operations", "errors"},
     {"latency_seconds", "Time from submission to completion", "operations", "latency_ns"},
     {"connected", "Whether the backend is connected", "device", "state"},
     {"reconnects_total", "Reconnects after the loss of a backend", "recovery", "reconnects"},
     {"replayed_requests_total", "Requests resent after the loss of a backend", "recovery",
      "replayed_requests"},
     {"longest_pause_seconds", "Longest time without a backend", "recovery", "longest_pause_ns"},
     {"stalls_total", "Periods in which the backend did not respond", "stalls", "count"},
     {"stalled", "Whether the backend is stalled now", "stalls", "now"},
     {"flushes_ignored_total", "Flushes and FUA writes completed without a flush by the backend",
      "durability", "flushes_ignored"},
     {"flushes_refused_total", "Flushes that failed because a lost backend may have lost writes",
      "durability", "flushes_refused"},
     {"clients", "NBD clients connected", "server", "clients"}});

std::string_view type_of(const metric& metric) {
  if (metric.key == "latency_ns") return "summary";
  return metric.name.ends_with("_total") ? "counter" : "gauge";
}

std::string number(const metric& metric, const json& value) {
  if (value.is_string()) return value.get<std::string>() == "connected" ? "1" : "0";
  if (value.is_boolean()) return value.get<bool>() ? "1" : "0";
  if (value.is_array()) return fmt::format("{}", value.size());
  const auto count = value.get<std::uint64_t>();
  if (!metric.name.ends_with("_seconds")) return fmt::format("{}", count);
  return fmt::format("{:.9f}", static_cast<double>(count) / 1e9);
}

void add_samples(std::string& out, const metric& metric, const std::string& labels,
                 const json& value) {
  const auto add = [&](std::string_view more, const json& sample) {
    out += fmt::format("xenpv_disk_{}{{{}{}}} {}\n", metric.name, labels, more,
                       number(metric, sample));
  };
  if (!value.is_object()) return add("", value);
  add(",quantile=\"0.5\"", value.at("p50"));
  add(",quantile=\"0.99\"", value.at("p99"));
  add(",quantile=\"0.999\"", value.at("p999"));
}

}  // namespace

std::string to_prometheus(const std::vector<json>& reports) {
  std::string out;
  for (const auto& metric : metrics) {
    out += fmt::format("# HELP xenpv_disk_{0} {1}\n# TYPE xenpv_disk_{0} {2}\n", metric.name,
                       metric.help, type_of(metric));
    const std::string key(metric.key);
    for (const auto& report : reports) {
      const auto disk = fmt::format("disk=\"{}\"", report.at("name").get<std::string>());
      const auto& section = report.at(std::string(metric.section));
      if (metric.section != "operations") {
        add_samples(out, metric, disk, section.at(key));
        continue;
      }
      for (const auto& [operation, values] : section.items())
        add_samples(out, metric, fmt::format("{},operation=\"{}\"", disk, operation),
                    values.at(key));
    }
  }
  return out;
}

}  // namespace xenpv::disk_app
