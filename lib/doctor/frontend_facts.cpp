#include "doctor/frontend_facts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/words.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::doctor {
namespace {

using wire::xenbus_state;

std::string value_at(const channels::store_nodes& nodes, const std::string& path) {
  const auto it = nodes.find(path);
  return it == nodes.end() ? std::string() : it->second;
}

/// "device/vif/0/state" -> "device/vif/0".
std::optional<std::string> device_in(std::string_view path) {
  const auto parts = split(path, '/');
  if (parts.size() < 4 || parts[0] != "device" || parts[1] == "vbd") return std::nullopt;
  if (!parse_whole<std::uint32_t>(parts[2])) return std::nullopt;
  return fmt::format("device/{}/{}", parts[1], parts[2]);
}

frontend_facts& entry_for(std::map<std::string, frontend_facts>& all, const std::string& path) {
  auto& out = all[path];
  const auto parts = split(path, '/');
  out.path = path;
  out.type = parts[1];
  out.name = fmt::format("{}-{}", parts[1], parts[2]);
  return out;
}

void take_sysfs(const std::vector<xenbus_device>& devices,
                std::map<std::string, frontend_facts>& all) {
  // Captures made by hand lack the links to the drivers.
  const bool shows_drivers = std::ranges::any_of(devices, &xenbus_device::has_driver);
  for (const auto& device : devices) {
    if (device.is_backend) continue;
    const auto dash = device.name.rfind('-');
    if (dash == std::string::npos) continue;
    const auto path =
        fmt::format("device/{}/{}", device.name.substr(0, dash), device.name.substr(dash + 1));
    if (!device_in(path + "/state")) continue;
    auto& out = entry_for(all, path);
    out.state = parse_state_name(device.state);
    if (out.state) out.state_source = fmt::format("/sys/bus/xen/devices/{}/state", device.name);
    if (shows_drivers)
      out.driver = device.has_driver ? driver_binding::bound : driver_binding::absent;
  }
}

}  // namespace

std::optional<xenbus_state> parse_state_name(std::string_view text) {
  for (unsigned i = 0; i <= static_cast<unsigned>(xenbus_state::reconfigured); ++i)
    if (const auto state = static_cast<xenbus_state>(i); to_string(state) == text) return state;
  return std::nullopt;
}

std::vector<frontend_facts> make_frontend_facts(const std::vector<xenbus_device>& devices,
                                                const channels::store_nodes& nodes) {
  std::map<std::string, frontend_facts> all;
  take_sysfs(devices, all);
  for (const auto& [path, value] : nodes) {
    const auto device = device_in(path);
    if (!device || path != *device + "/state") continue;
    auto& out = entry_for(all, *device);
    if (out.state) continue;
    out.state = wire::parse_xenbus_state(value);
    out.state_source = path;
  }
  std::vector<frontend_facts> out;
  for (auto& [path, entry] : all) {
    entry.error = value_at(nodes, fmt::format("error/{}/error", path));
    entry.backend = value_at(nodes, path + "/backend");
    entry.queues = parse_whole<unsigned>(value_at(nodes, path + "/multi-queue-num-queues"));
    entry.max_queues =
        parse_whole<unsigned>(value_at(nodes, entry.backend + "/multi-queue-max-queues"));
    if (!entry.backend.empty() && nodes.contains(entry.backend + "/feature-sg"))
      entry.accepts_tso = value_at(nodes, entry.backend + "/feature-gso-tcpv4") == "1";
    if (!entry.backend.empty())
      entry.back_state = wire::parse_xenbus_state(value_at(nodes, entry.backend + "/state"));
    out.push_back(std::move(entry));
  }
  return out;
}

bool lacks_backend(const frontend_facts& device) {
  return device.state == xenbus_state::connected && device.back_state &&
         *device.back_state != xenbus_state::unknown &&
         *device.back_state != xenbus_state::connected &&
         *device.back_state != xenbus_state::reconfiguring &&
         *device.back_state != xenbus_state::reconfigured;
}

void mark_stuck(const std::vector<frontend_facts>& earlier, std::vector<frontend_facts>& later) {
  std::set<std::string_view> paths;
  for (const auto& device : earlier)
    if (lacks_backend(device)) paths.insert(device.path);
  for (auto& device : later)
    device.is_stuck = lacks_backend(device) && paths.contains(device.path);
}

void add_backend_errors(const channels::store_nodes& nodes, std::vector<xenbus_device>& devices) {
  for (auto& device : devices) {
    if (!device.is_backend) continue;
    if (device.nodename.empty()) {  // "vif-3-0" is backend/vif/3/0
      device.nodename = "backend/" + device.name;
      std::ranges::replace(device.nodename, '-', '/');
    }
    device.error = value_at(nodes, fmt::format("error/{}/error", device.nodename));
  }
}

channels::store_nodes read_device_nodes(const channels::fact_source& source,
                                        const channels::store_nodes& nodes,
                                        const std::vector<xenbus_device>& devices) {
  channels::store_nodes out;
  if (source.is_capture) return out;
  std::set<std::string> paths;
  for (const auto& [path, value] : nodes) {
    const auto device = device_in(path);
    if (!device) continue;
    paths.insert(fmt::format("error/{}/error", *device));
    if (path != *device + "/backend") continue;
    paths.insert(value + "/state");
    paths.insert(value + "/multi-queue-max-queues");
    paths.insert(value + "/feature-sg");
    paths.insert(value + "/feature-gso-tcpv4");
  }
  for (const auto& device : devices)
    if (!device.nodename.empty()) paths.insert(fmt::format("error/{}/error", device.nodename));
  if (paths.empty()) return out;
  try {
    const auto store = xen::store::open();
    for (const auto& path : paths) {
      try {
        if (auto value = store.read_if_exists(path)) out.emplace(path, std::move(*value));
      } catch (const failure& problem) {
        // Nodes of other domains may be unreadable, or may have been removed.
        if (problem.code() != std::errc::permission_denied) throw;
      }
    }
  } catch (const failure&) {
    // The checks report what the remaining sources show.
  }
  return out;
}

}  // namespace xenpv::doctor
