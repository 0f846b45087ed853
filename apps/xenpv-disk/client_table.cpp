#include "client_table.hpp"

#include <fmt/format.h>

#include <ostream>

#include "base/parse.hpp"
#include "base/utf8.hpp"
#include "cli/table.hpp"

namespace xenpv::disk_app {
namespace {

using cli::json;

std::string count_text(const json& client, const char* key) {
  return fmt::format("{}", client.value(key, std::uint64_t{0}));
}

/// Formats whole seconds with their two largest units, without spaces: "12s", "5m12s", "2d04h".
std::string age_text(std::uint64_t seconds) {
  if (seconds < 60) return fmt::format("{}s", seconds);
  const auto minutes = seconds / 60;
  if (minutes < 60) return fmt::format("{}m{:02}s", minutes, seconds % 60);
  const auto hours = minutes / 60;
  if (hours < 24) return fmt::format("{}h{:02}m", hours, minutes % 60);
  return fmt::format("{}d{:02}h", hours / 24, hours % 24);
}

/// Empty if the report lacks the duration.
std::string duration_text(const json& client, const char* key) {
  const auto found = client.find(key);
  if (found == client.end() || found->is_null()) return {};
  return age_text(found->get<std::uint64_t>() / 1'000'000'000);
}

}  // namespace

void print_clients(std::ostream& out, const json& report) {
  const auto& clients = report.at("server").at("clients");
  if (clients.empty()) return;
  cli::table table({cli::right_column("CLIENT"),
                    {"IDENTITY"},
                    {"ADDRESS"},
                    {"ACCESS"},
                    cli::right_column("AGE"),
                    cli::right_column("IDLE"),
                    cli::right_column("REQUESTS"),
                    cli::right_column("ERRORS"),
                    cli::right_column("READ"),
                    cli::right_column("WRITTEN")});
  for (const auto& client : clients)
    table.add_row({count_text(client, "number"), client.value("identity", client.value("user", "")),
                   client.value("peer", ""), client.value("read_only", false) ? "r" : "w",
                   duration_text(client, "age_ns"), duration_text(client, "idle_ns"),
                   count_text(client, "requests"), count_text(client, "errors"),
                   count_text(client, "bytes_read"), count_text(client, "bytes_written")});
  table.print(out);
}

void print_server(std::ostream& out, const json& server) {
  const auto memory = server.find("memory");
  if (memory == server.end()) return;
  const auto size = [&](const char* key) {
    return format_size(memory->at(key).get<std::uint64_t>());
  };
  std::string disks;
  for (const auto& disk : server.at("disks"))
    disks += (disks.empty() ? "" : ", ") + printable(disk.get<std::string>());
  out << fmt::format(
      "server of {}: {} clients, {} waiting, {} handshakes, memory {} of {}, at most {}\n", disks,
      count_text(server, "clients"), count_text(server, "waiting"),
      count_text(server, "handshakes"), size("used"), size("limit"), size("most"));
}

}  // namespace xenpv::disk_app
