#include <fmt/format.h>

#include <ostream>

#include "base/parse.hpp"
#include "base/utf8.hpp"
#include "cli/table.hpp"
#include "cli/value.hpp"
#include "client_table.hpp"
#include "commands.hpp"
#include "prometheus.hpp"
#include "server_query.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

struct status_options {
  std::string disk;
  bool json = false;
  bool prometheus = false;
};

std::string latency_of(const cli::json& values, const char* key) {
  return format_nanoseconds(values.at("latency_ns").at(key).get<std::uint64_t>());
}

/// Prints a line for each problem that affects the disk's users.
void print_troubles(std::ostream& out, const cli::json& report) {
  const auto& stalls = report.at("stalls");
  const auto count = stalls.at("count").get<std::uint64_t>();
  if (stalls.at("now").get<bool>())
    out << fmt::format("stalled: the backend is not responding; requests wait ({} stalls so far)\n",
                       count);
  else if (count > 0)
    out << fmt::format("{} stalls: the backend stopped responding for a long time, but recovered\n",
                       count);
  const auto& durability = report.at("durability");
  const auto ignored = durability.at("flushes_ignored").get<std::uint64_t>();
  if (durability.at("flush").get<std::string>() == "ignored" || ignored > 0)
    out << fmt::format(
        "not durable: the backend stopped offering flush, and {} flushes reported success without "
        "it; a crash of its host may lose completed writes (--strict-flush fails flushes "
        "instead)\n",
        ignored);
  if (const auto refused = durability.at("flushes_refused").get<std::uint64_t>(); refused > 0)
    out << fmt::format("{} flushes failed: a lost backend may have lost completed writes\n",
                       refused);
}

/// ", /dev/ublkb0: 2 queues of 128 requests of up to 512K"; empty without a kernel device.
std::string kernel_device_text(const cli::json& report) {
  const auto& path = report.at("kernel_device");
  if (path.is_null()) return {};
  auto out = fmt::format(", {}", path.get<std::string>());
  // Servers of earlier versions do not report it.
  const auto ublk = report.value("ublk", cli::json());
  if (ublk.is_null()) return out;
  const bool copies = ublk.at("copies").get<bool>();
  return out + fmt::format(": {} queues of {} requests of up to {}{}",
                           ublk.at("queues").get<unsigned>(), ublk.at("depth").get<unsigned>(),
                           format_size(ublk.at("request_bytes").get<std::uint64_t>()),
                           copies ? ", copied once more for lack of pages" : "");
}

void print_table(std::ostream& out, const cli::json& report) {
  const auto& device = report.at("device");
  out << fmt::format("{}: {}, {}, {} queues, segments {}, {} clients{}\n",
                     report.at("name").get<std::string>(), device.at("state").get<std::string>(),
                     format_size(device.at("size").get<std::uint64_t>()),
                     report.at("queues").size(), device.at("segments").get<unsigned>(),
                     report.at("server").at("clients").size(), kernel_device_text(report));
  const auto& recovery = report.at("recovery");
  if (!recovery.at("last_reason").is_null())
    out << fmt::format(
        "{} reconnects, {} requests replayed, longest pause {}; last reason: {}{}\n",
        recovery.at("reconnects").get<std::uint64_t>(),
        recovery.at("replayed_requests").get<std::uint64_t>(),
        format_duration(
            std::chrono::nanoseconds(recovery.at("longest_pause_ns").get<std::uint64_t>())),
        printable(recovery.at("last_reason").get<std::string>()),
        recovery.at("timed_out").get<bool>() ? "; requests fail until the backend returns" : "");
  print_troubles(out, report);
  cli::table table({{"OPERATION"},
                    {"REQUESTS", cli::align::right},
                    {"BYTES", cli::align::right},
                    {"ERRORS", cli::align::right},
                    {"P50", cli::align::right},
                    {"P99", cli::align::right},
                    {"MAX", cli::align::right}});
  for (const auto& [name, values] : report.at("operations").items())
    table.add_row({name, fmt::format("{}", values.at("requests").get<std::uint64_t>()),
                   fmt::format("{}", values.at("bytes").get<std::uint64_t>()),
                   fmt::format("{}", values.at("errors").get<std::uint64_t>()),
                   latency_of(values, "p50"), latency_of(values, "p99"),
                   latency_of(values, "max")});
  table.print(out);
  print_clients(out, report);
}

cli::json to_json(const std::vector<silent_server>& servers) {
  return cli::json_array(servers, [](const silent_server& server) {
    cli::json out{{"disk", server.disk}, {"pid", nullptr}, {"reason", server.why}};
    if (server.process != 0) out["pid"] = server.process;
    return out;
  });
}

cli::exit_code status(const status_options& options, std::ostream& out) {
  const auto answers = ask_servers(options.disk);
  const auto& [reports, servers, silent] = answers;
  if (options.prometheus) {
    out << to_prometheus(answers);
  } else if (options.json) {
    auto document = cli::json_document("xenpv-disk.status", 1);
    document["disks"] = reports;
    document["servers"] = servers;
    document["silent"] = to_json(silent);
    cli::print_json(out, document);
  } else {
    for (const auto& report : reports)
      print_table(out, report);
    for (const auto& server : servers)
      print_server(out, server);
    if (reports.empty() && silent.empty())
      log().info("no server is running; start one with xenpv-disk serve");
  }
  // The reports of the other servers have been printed.
  for (const auto& server : silent)
    log().error("{}", describe(server));
  return silent.empty() ? cli::exit_code::ok : cli::exit_code::failed;
}

}  // namespace

void add_status(cli::app& app) {
  static status_options options;
  auto& command = app.add_command("status", "show server statistics");
  command
      .describe(
          "Queries the servers of this guest for the statistics of each disk and each client. "
          "Without DISK, queries all servers; it is not an error if there are none. Exits with "
          "status "
          "1 if a server does not answer, after the reports of the others, and with 77 if no "
          "server "
          "serves DISK.")
      .argument("[DISK]", options.disk, "any name of the disk, as shown by list", cli::as_text)
      .offers_json(options.json)
      .flag("--prometheus", options.prometheus, "print in the Prometheus text format")
      .action([](std::ostream& out) { return status(options, out); });
}

}  // namespace xenpv::disk_app
