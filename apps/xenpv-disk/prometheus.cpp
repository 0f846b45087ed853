#include "prometheus.hpp"

#include <fmt/format.h>

#include <array>
#include <functional>
#include <optional>

#include "base/prometheus_text.hpp"
#include "base/utf8.hpp"

namespace xenpv::disk_app {
namespace {

using cli::json;

/// The conversion of a report's value into the value of a sample.
enum class conversion {
  number,       ///< unchanged; a boolean becomes 0 or 1
  nanoseconds,  ///< to seconds
  connected,    ///< 1 for the text "connected"
  ignored,      ///< 1 for the text "ignored"
  length,       ///< the number of elements of an array
};

struct metric {
  std::string_view name;  ///< after "xenpv_disk_"; a counter ends with "_total"
  std::string_view help;
  std::string_view path;  ///< JSON pointer; for a queue or an operation, relative to it
  conversion value = conversion::number;
};

constexpr auto disk_metrics = std::to_array<metric>({
    {"start_time_seconds", "When the server started, in seconds since the epoch.", "/start_time"},
    {"connected", "Whether the backend is connected.", "/device/state", conversion::connected},
    {"size_bytes", "Size of the disk.", "/device/size"},
    {"read_only", "Whether the disk rejects writes.", "/device/read_only"},
    {"queues", "Queues of the disk.", "/queues", conversion::length},
    {"reconnects_total", "Reconnects after the loss of a backend.", "/recovery/reconnects"},
    {"replayed_requests_total", "Requests resent after the loss of a backend.",
     "/recovery/replayed_requests"},
    {"longest_pause_seconds", "Longest time without a backend.", "/recovery/longest_pause_ns",
     conversion::nanoseconds},
    {"last_pause_seconds", "Time without a backend before the last reconnect.",
     "/recovery/last_pause_ns", conversion::nanoseconds},
    {"recovery_timed_out", "Whether requests fail because the backend has not returned in time.",
     "/recovery/timed_out"},
    {"stalls_total", "Periods in which the backend did not respond.", "/stalls/count"},
    {"stalled", "Whether the backend is stalled now.", "/stalls/now"},
    {"flush_ignored", "Whether flushes succeed without reaching the backend.", "/durability/flush",
     conversion::ignored},
    {"flushes_ignored_total", "Flushes and FUA writes completed without a flush by the backend.",
     "/durability/flushes_ignored"},
    {"flushes_refused_total", "Flushes that failed because a lost backend may have lost writes.",
     "/durability/flushes_refused"},
    {"clients", "NBD clients connected.", "/server/clients", conversion::length},
});

/// Of a server, which may have several disks.
constexpr auto server_metrics = std::to_array<metric>({
    {"clients_waiting", "Clients that wait for another one to leave.", "/waiting"},
    {"handshakes", "Connections in the NBD handshake.", "/handshakes"},
    {"connections_accepted_total", "Connections that were served.", "/accepted"},
    {"connections_refused_total", "Connections refused by a limit or the access list.", "/refused"},
    {"handshakes_evicted_total", "Handshakes ended to make room for others.", "/evicted"},
    {"handshakes_failed_total", "Connections that ended before they were served.",
     "/failed_handshakes"},
    {"memory_used_bytes", "Memory in use for requests of clients.", "/memory/used"},
    {"memory_most_bytes", "Largest amount of memory that was in use.", "/memory/most"},
    {"memory_limit_bytes", "Memory that requests of clients may use.", "/memory/limit"},
});

/// Summed over the queues of a disk.
constexpr auto queue_metrics = std::to_array<metric>({
    {"requests_in_flight", "Ring requests that the backend has not answered.", "/in_flight"},
    {"requests_queued", "Requests that wait for ring entries or pages.", "/queued"},
    {"ring_entries", "Entries of the rings.", "/ring_entries"},
    {"pages", "Pages granted for data.", "/pages"},
    {"pages_used", "Granted pages in use.", "/pages_used"},
    {"ring_requests_total", "Requests published in the rings.", "/ring_requests"},
    {"indirect_requests_total", "Indirect requests published in the rings.", "/indirect_requests"},
    {"notifications_sent_total", "Events sent to the backend.", "/notifies_sent"},
    {"notifications_suppressed_total", "Batches for which the backend did not request an event.",
     "/notifies_suppressed"},
    {"events_total", "Events received from the backend.", "/events"},
    {"spurious_events_total", "Events received without a response.", "/spurious_events"},
    {"ring_full_total", "Batches cut short because the ring was full.", "/ring_full"},
    {"pages_short_total", "Batches cut short for lack of granted pages.", "/pages_short"},
    {"flushes_merged_total", "Flushes and FUA writes covered by another flush.", "/flushes_merged"},
    {"read_modify_writes_total", "Sectors written by read-modify-write.", "/read_modify_writes"},
    {"requests_timed_out_total", "Requests that timed out.", "/timed_out"},
    {"late_responses_total", "Responses received after their request had timed out.",
     "/answered_late"},
});

constexpr auto operation_metrics = std::to_array<metric>({
    {"requests_total", "Requests completed, including failed ones.", "/requests"},
    {"bytes_total", "Bytes of successful requests.", "/bytes"},
    {"errors_total", "Requests that failed.", "/errors"},
});

/// Returns the value at `path`; nullptr if it is missing or null.
const json* find(const json& object, std::string_view path) {
  const json::json_pointer pointer{std::string(path)};
  if (!object.contains(pointer)) return nullptr;
  const auto& value = object.at(pointer);
  return value.is_null() ? nullptr : &value;
}

std::string value_text(const json& value, conversion conversion) {
  switch (conversion) {
    case conversion::number:
      return value.is_boolean() ? (value.get<bool>() ? "1" : "0") : value.dump();
    case conversion::nanoseconds:
      return metric_seconds(value.get<std::uint64_t>());
    case conversion::connected:
      return value == "connected" ? "1" : "0";
    case conversion::ignored:
      return value == "ignored" ? "1" : "0";
    case conversion::length:
      return fmt::format("{}", value.size());
  }
  return "NaN";
}

std::string disk_label(const json& report) {
  return metric_label("disk", printable(report.at("name").get<std::string>()));
}

/// Calls `visit` with the value and the labels of each operation of each disk.
using operation_visitor = std::function<void(const json& values, const std::string& labels)>;
void for_each_operation(const std::vector<json>& reports, const operation_visitor& visit) {
  for (const auto& report : reports)
    if (const auto* const operations = find(report, "/operations"))
      for (const auto& [name, values] : operations->items())
        visit(values, disk_label(report) + "," + metric_label("operation", name));
}

class exposition {
 public:
  /// Starts a metric. Its header is added before its first sample.
  void start(std::string_view name, metric_type type, std::string_view help) {
    name_ = fmt::format("xenpv_disk_{}", name);
    header_.clear();
    add_metric_header(header_, name_, type, help);
  }
  void start(const metric& metric) {
    const bool is_counter = metric.name.ends_with("_total");
    start(metric.name, is_counter ? metric_type::counter : metric_type::gauge, metric.help);
  }
  void add(std::string_view suffix, std::string_view labels, std::string_view value) {
    text_ += header_;
    header_.clear();
    text_ += fmt::format("{}{}{{{}}} {}\n", name_, suffix, labels, value);
  }
  void add(std::string_view labels, std::string_view value) { add({}, labels, value); }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string name_;
  std::string header_;  ///< of the current metric; empty once it was added
  std::string text_;
};

void add_up(exposition& out, const std::vector<json>& reports,
            const std::vector<silent_server>& silent) {
  out.start("up", metric_type::gauge, "Whether the server of the disk answers.");
  for (const auto& report : reports)
    out.add(disk_label(report), "1");
  for (const auto& server : silent)
    out.add(metric_label("disk", printable(server.disk)), "0");
}

/// Adds metrics that have the value 1 and carry properties as labels.
void add_properties(exposition& out, const std::vector<json>& reports) {
  out.start("build_info", metric_type::gauge, "Version of the server; the value is always 1.");
  for (const auto& report : reports)
    if (const auto* const version = find(report, "/version"))
      out.add(disk_label(report) + "," + metric_label("version", version->get<std::string>()), "1");
  constexpr auto properties = std::to_array<std::pair<std::string_view, std::string_view>>(
      {{"device", "/device/path"},
       {"backend", "/device/backend"},
       {"export", "/export"},
       {"server", "/server/name"},
       {"kernel_device", "/kernel_device"}});
  out.start("info", metric_type::gauge, "Properties of the disk; the value is always 1.");
  for (const auto& report : reports) {
    auto labels = disk_label(report);
    for (const auto& [name, path] : properties) {
      const auto* const value = find(report, path);
      labels += ',';
      labels += metric_label(name, value ? printable(value->get<std::string>()) : "");
    }
    out.add(labels, "1");
  }
}

/// Returns the sum of a value over all queues; nullopt if no queue has it.
std::optional<std::uint64_t> sum_over_queues(const json& report, std::string_view path) {
  const auto* const queues = find(report, "/queues");
  if (!queues) return std::nullopt;
  std::optional<std::uint64_t> sum;
  for (const auto& queue : *queues)
    if (const auto* const value = find(queue, path))
      sum = sum.value_or(0) + value->get<std::uint64_t>();
  return sum;
}

/// Adds the buckets, the sum and the count of one operation.
void add_latency(exposition& out, const json& latency, const std::string& labels) {
  const auto* const buckets = find(latency, "/buckets");
  const auto* const sum = find(latency, "/sum");
  if (!buckets || !sum) return;
  // The count is the sum of the buckets, so that it always matches them.
  std::uint64_t count = 0;
  for (const auto& bucket : *buckets) {
    count += bucket.at(1).get<std::uint64_t>();
    const auto& upper = bucket.at(0);
    const auto bound = upper.is_null() ? "+Inf" : metric_seconds(upper.get<std::uint64_t>());
    out.add("_bucket", labels + "," + metric_label("le", bound), fmt::format("{}", count));
  }
  out.add("_sum", labels, metric_seconds(sum->get<std::uint64_t>()));
  out.add("_count", labels, fmt::format("{}", count));
}

void add_operations(exposition& out, const std::vector<json>& reports) {
  for (const auto& metric : operation_metrics) {
    out.start(metric);
    for_each_operation(reports, [&](const json& values, const std::string& labels) {
      if (const auto* const value = find(values, metric.path))
        out.add(labels, value_text(*value, metric.value));
    });
  }
  out.start("latency_seconds", metric_type::buckets,
            "Time from submission to completion of a request, including failed ones.");
  for_each_operation(reports, [&](const json& values, const std::string& labels) {
    if (const auto* const latency = find(values, "/latency_ns")) add_latency(out, *latency, labels);
  });
}

}  // namespace

std::string to_prometheus(const server_answers& answers) {
  const auto& [reports, servers, silent] = answers;
  exposition out;
  add_up(out, reports, silent);
  add_properties(out, reports);
  for (const auto& metric : disk_metrics) {
    out.start(metric);
    for (const auto& report : reports)
      if (const auto* const value = find(report, metric.path))
        out.add(disk_label(report), value_text(*value, metric.value));
  }
  for (const auto& metric : server_metrics) {
    out.start(metric);
    for (const auto& server : servers)
      if (const auto* const value = find(server, metric.path))
        out.add(metric_label("server", printable(server.at("name").get<std::string>())),
                value_text(*value, metric.value));
  }
  for (const auto& metric : queue_metrics) {
    out.start(metric);
    for (const auto& report : reports)
      if (const auto sum = sum_over_queues(report, metric.path))
        out.add(disk_label(report), fmt::format("{}", *sum));
  }
  add_operations(out, reports);
  return out.take();
}

}  // namespace xenpv::disk_app
