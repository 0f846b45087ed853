#include "channels/store_ports.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/parse.hpp"
#include "base/words.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::channels {
namespace {

constexpr std::string_view event_channel = "event-channel";
/// Depth of frontend nodes: device/TYPE/NUMBER/queue-N/event-channel-tx.
constexpr int max_depth = 5;

std::optional<domid> parse_domain(std::string_view text) {
  const auto number = parse_whole<std::uint16_t>(text);
  return number ? std::optional(domid{*number}) : std::nullopt;
}

/// Strips "/local/domain/N/" and sets the owner to N.
bool take_owner(std::vector<std::string_view>& parts, domid& owner) {
  if (!parts.front().empty()) return true;
  if (parts.size() < 5 || parts[1] != "local" || parts[2] != "domain") return false;
  const auto domain = parse_domain(parts[3]);
  if (!domain) return false;
  owner = *domain;
  parts.erase(parts.begin(), parts.begin() + 4);
  return true;
}

/// Parses console/port, store/port, and device/console/1/port of additional consoles.
bool take_single(const std::vector<std::string_view>& parts, store_port& out) {
  if (parts.size() == 2 && parts[1] == "port" && (parts[0] == "console" || parts[0] == "store")) {
    out.device = out.type = parts[0];
    return true;
  }
  if (parts.size() != 4 || parts[0] != "device" || parts[3] != "port") return false;
  out.type = parts[1];
  out.number = parts[2];
  return true;
}

bool take_device(const std::vector<std::string_view>& parts, store_port& out) {
  if (parts.size() < 4 || parts.size() > 5 || parts[0] != "device") return false;
  const auto leaf = parts.back();
  if (!leaf.starts_with(event_channel)) return false;
  const auto role = leaf.substr(event_channel.size());
  if (!role.empty() && role.front() != '-') return false;
  out.type = parts[1];
  out.number = parts[2];
  if (!role.empty()) out.role = role.substr(1);
  if (parts.size() == 4) return true;
  if (!parts[3].starts_with("queue-")) return false;
  out.queue = parse_whole<unsigned>(parts[3].substr(6));
  return out.queue.has_value();
}

std::optional<store_port> store_port_at(const std::string& path, const std::string& value) {
  store_port out;
  out.node = path;
  const auto number = parse_whole<std::uint32_t>(value);
  if (!number || *number == 0) return std::nullopt;
  out.number_of_port = port{*number};
  auto parts = split(path, '/');
  if (!take_owner(parts, out.owner)) return std::nullopt;
  if (!take_single(parts, out) && !take_device(parts, out)) return std::nullopt;
  if (out.device.empty()) out.device = fmt::format("device/{}/{}", out.type, out.number);
  return out;
}

void read_below(const xen::store& store, const std::string& path, int depth, store_nodes& out) {
  try {
    const auto names = store.list_if_exists(path);
    if (!names) return;
    for (const auto& name : *names) {
      if (depth > 0) read_below(store, fmt::format("{}/{}", path, name), depth - 1, out);
    }
    if (names->empty())
      if (auto value = store.read_if_exists(path)) out.emplace(path, std::move(*value));
  } catch (const failure& problem) {
    // Another domain's node may be unreadable, or may have been removed.
    if (problem.code() != std::errc::permission_denied) throw;
  }
}

void read_home(const xen::store& store, const std::string& home, store_nodes& out) {
  for (const auto* folder : {"device", "console", "store"})
    read_below(store, home + folder, max_depth - 1, out);
}

}  // namespace

std::vector<store_port> find_store_ports(const store_nodes& nodes) {
  std::vector<store_port> out;
  for (const auto& [path, value] : nodes) {
    auto entry = store_port_at(path, value);
    if (!entry) continue;
    const auto home = path.front() == '/' ? fmt::format("/local/domain/{}/", entry->owner) : "";
    const auto backend = nodes.find(fmt::format("{}{}/backend-id", home, entry->device));
    if (backend != nodes.end()) entry->backend = parse_domain(backend->second).value_or(domid_0);
    out.push_back(std::move(*entry));
  }
  std::ranges::sort(out, {}, [](const store_port& entry) {
    return std::tuple(raw(entry.owner), raw(entry.number_of_port));
  });
  return out;
}

store_nodes parse_store_listing(std::string_view text) {
  store_nodes out;
  while (!text.empty()) {
    const auto line = next_line(text);
    const auto equals = line.find(" = \"");
    if (equals == std::string_view::npos) continue;
    const auto last = line.rfind('"');
    const auto first = equals + 4;
    if (last < first) continue;
    out.emplace(line.substr(0, equals), line.substr(first, last - first));
  }
  return out;
}

std::string format_store_listing(const store_nodes& nodes) {
  std::string out;
  for (const auto& [path, value] : nodes)
    if (value.find('\n') == std::string::npos) out += fmt::format("{} = \"{}\"\n", path, value);
  return out;
}

store_nodes read_store_nodes(const xen::store& store, bool all_domains) {
  store_nodes out;
  read_home(store, "", out);
  if (!all_domains) return out;
  for (const auto& domain :
       store.list_if_exists("/local/domain").value_or(std::vector<std::string>()))
    if (domain != "0") read_home(store, fmt::format("/local/domain/{}/", domain), out);
  return out;
}

}  // namespace xenpv::channels
