#include "report.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

namespace xenpv::disk_app {
namespace {

using blkfront::queue_statistics;
using cli::json;

/// The start time of this process.
const auto start_time = std::chrono::system_clock::now();

double start_seconds() {
  return std::chrono::duration<double>(
             std::chrono::floor<std::chrono::milliseconds>(start_time.time_since_epoch()))
      .count();
}

/// Upper bounds of the reported latency buckets, in nanoseconds: 8191 (8 us), 16383 and so on to
/// 2^33 - 1 (8.6 s). Each is a bound of the histogram too, so the counts are exact.
constexpr unsigned first_bound_bits = 13;
constexpr unsigned last_bound_bits = 33;

constexpr bool are_histogram_bounds() {
  for (auto bits = first_bound_bits; bits <= last_bound_bits; ++bits) {
    const auto bound = (std::uint64_t{1} << bits) - 1;
    if (histogram::upper_bound(histogram::bucket_of(bound)) != bound) return false;
  }
  return true;
}
static_assert(are_histogram_bounds());

/// Returns [upper bound, number of samples] for each bucket. The last bucket has no bound.
json bucket_report(const histogram& latency) {
  auto out = json::array();
  std::uint64_t before = 0;
  for (auto bits = first_bound_bits; bits <= last_bound_bits; ++bits) {
    const auto bound = (std::uint64_t{1} << bits) - 1;
    const auto within = latency.count_up_to(bound);
    out.push_back(json::array({bound, within - before}));
    before = within;
  }
  out.push_back(json::array({nullptr, latency.count() - before}));
  return out;
}

json operation_report(const blkfront::operation_statistics& counters) {
  return {{"requests", counters.requests},
          {"bytes", counters.bytes},
          {"errors", counters.errors},
          {"latency_ns",
           {{"mean", static_cast<std::uint64_t>(counters.latency_ns.mean())},
            {"p50", counters.latency_ns.percentile(0.5)},
            {"p99", counters.latency_ns.percentile(0.99)},
            {"p99.9", counters.latency_ns.percentile(0.999)},
            {"max", counters.latency_ns.max()},
            {"sum", counters.latency_ns.sum()},
            {"buckets", bucket_report(counters.latency_ns)}}}};
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
          {"listener", client.listener},
          {"export", client.export_name},
          {"read_only", client.read_only},
          {"identity", client.identity},
          {"user", client.user},
          {"tls", client.tls},
          {"age_ns", client.age.count()},
          {"idle_ns", client.idle.count()},
          {"queue", client.queue},
          {"requests", client.requests},
          {"errors", client.errors},
          {"bytes_read", client.bytes_read},
          {"bytes_written", client.bytes_written},
          {"from_heap", client.from_heap}};
}

json export_report(const export_spec& exported) {
  json out{{"name", exported.name}, {"read_only", exported.read_only}};
  out["offset"] = exported.part.offset.value_or(0);
  out["size"] = exported.part.size ? json(*exported.part.size) : json();
  out["partition"] = exported.part.partition ? json(*exported.part.partition) : json();
  return out;
}

bool exports(const served_disk& disk, std::string_view name) {
  return std::ranges::count(disk.claimed.exports, name, &export_spec::name) > 0;
}

/// The statistics of the whole server, which the reports of its disks have in common, except for
/// `clients`.
json server_report(const disk_server& server, json clients) {
  const auto statistics = server.server.statistics();
  const auto name_of = [](const served_disk& disk) { return json(disk.name); };
  return {{"name", server.disks.front().name},
          {"disks", cli::json_array(server.disks, name_of)},
          {"connected", statistics.connections - statistics.handshakes - statistics.waiting},
          {"accepted", statistics.accepted},
          {"refused", statistics.refused},
          {"evicted", statistics.evicted},
          {"failed_handshakes", statistics.failed_handshakes},
          {"handshakes", statistics.handshakes},
          {"waiting", statistics.waiting},
          {"memory",
           {{"used", statistics.memory_used},
            {"most", statistics.memory_most},
            {"limit", statistics.memory_limit}}},
          {"clients", std::move(clients)}};
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

void report_kernel_device(const std::optional<attached_as>& attached, json& out) {
  out["kernel_device"] = nullptr;
  out["kernel_driver"] = nullptr;
  out["ublk"] = nullptr;
  if (!attached) return;
  out["kernel_device"] = attached->device.path();
  out["kernel_driver"] = to_string(attached->device.driver);
  if (!attached->plan) return;
  out["ublk"] = {{"queues", attached->plan->queues},
                 {"depth", attached->plan->depth},
                 {"request_bytes", attached->plan->max_io_bytes},
                 {"copies", attached->plan->copies}};
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

asio::awaitable<json> make_report(disk_server& server, served_disk& disk) {
  const auto queues = co_await disk.device.statistics();
  auto clients = co_await server.server.clients();
  std::erase_if(clients, [&](const auto& client) { return !exports(disk, client.export_name); });
  json out;
  out["name"] = disk.name;
  out["toolstack_name"] = disk.claimed.held.disk.toolstack_name;
  out["devid"] = disk.claimed.held.disk.number;
  out["export"] = disk.claimed.exports.front().name;
  out["exports"] = cli::json_array(disk.claimed.exports, export_report);
  out["pid"] = ::getpid();
  out["version"] = XENPV_VERSION;
  out["start_time"] = start_seconds();
  out["device"] = device_report(disk);
  out["recovery"] = recovery_report(disk.device.recovery());
  report_kernel_device(disk.attached, out);
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
  out["server"] = server_report(server, cli::json_array(clients, client_report));
  co_return out;
}

}  // namespace xenpv::disk_app
