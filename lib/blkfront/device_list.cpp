#include "xenpv/blkfront/device_list.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/block_device_users.hpp"
#include "base/enum_name.hpp"
#include "base/parse.hpp"
#include "blkfront/features.hpp"
#include "wire/virtual_device.hpp"

namespace xenpv::blkfront {

namespace {

wire::xenbus_state state_in(const node_map& nodes) {
  return wire::parse_xenbus_state(value_or(nodes, "state")).value_or(wire::xenbus_state::unknown);
}

/// Returns the readable nodes of a directory by name.
node_map read_values(xen::store_transaction& t, const std::string& directory,
                     std::span<const std::string_view> names) {
  node_map out;
  for (const auto name : names) {
    try {
      if (auto value = t.read_if_exists(fmt::format("{}/{}", directory, name)))
        out.emplace(name, std::move(*value));
    } catch (const failure& problem) {
      // Reading a removed backend directory also fails with EACCES.
      if (problem.code() != std::errc::permission_denied) throw;
    }
  }
  return out;
}

constexpr std::array<std::string_view, 4> frontend_names = {"backend", "state", "device-type",
                                                            "virtual-device"};

std::vector<std::string> features_in(const node_map& backend) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> flags = {
      {{"feature-flush-cache", "flush"},
       {"feature-barrier", "barrier"},
       {"feature-discard", "discard"},
       {"discard-secure", "secure-discard"},
       {"feature-persistent", "persistent"}}};
  std::vector<std::string> out;
  for (const auto& [node, feature] : flags)
    if (const auto value = value_or(backend, node, "0"); !value.empty() && value != "0")
      out.emplace_back(feature);
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> limits = {
      {{"feature-max-indirect-segments", "indirect"},
       {"multi-queue-max-queues", "queues"},
       {"max-ring-page-order", "ring-order"}}};
  for (const auto& [node, feature] : limits)
    if (const auto value = value_or(backend, node); !value.empty())
      out.push_back(fmt::format("{}={}", feature, value));
  return out;
}

std::optional<std::uint64_t> size_in(const node_map& backend, std::string_view kind,
                                     std::string_view type) {
  const auto properties = parse_properties(backend, kind, type, 1);
  if (!properties) return std::nullopt;
  return properties->shape.size;
}

void add_backend(listed_device& device, const node_map& backend) {
  device.backend_kind = backend_kind(device.backend);
  device.params = value_or(backend, "params");
  device.mode = value_or(backend, "mode", "w");
  if (backend.contains("state")) device.backend_state = state_in(backend);
  device.features = features_in(backend);
  const auto sector = parse_unsigned(value_or(backend, "sector-size", "512"), "sector-size", 1);
  device.sector_size = sector ? static_cast<std::uint32_t>(*sector) : 512;
  device.size = size_in(backend, device.backend_kind, device.type);
}

std::string guest_name(const listed_device& device) {
  return wire::guest_disk_name({device.number, device.block_device});
}

listed_device describe(xen::store_transaction& t, const std::string& number,
                       const system_root& root) {
  listed_device device;
  device.path = "device/vbd/" + number;
  const auto own = read_values(t, device.path, frontend_names);
  device.number =
      static_cast<std::uint32_t>(parse_unsigned(number, device.path, 0, 0xFFFFFFFF).value());
  device.toolstack_name = wire::virtual_device_name(device.number);
  device.block_device = xen_block_device("vbd-" + number, root);
  device.backend = value_or(own, "backend");
  device.type = value_or(own, "device-type", "disk");
  device.state = state_in(own);
  auto names = std::vector<std::string_view>(backend_nodes().begin(), backend_nodes().end());
  names.insert(names.end(), {"state", "dev"});
  add_backend(device, read_values(t, device.backend, names));
  if (root.exists(fmt::format("/sys/bus/xen/devices/vbd-{}/driver", number)))
    device.holder = device_holder::kernel;
  else if (device.state == wire::xenbus_state::connected ||
           device.state == wire::xenbus_state::initialised)
    device.holder = device_holder::process;
  return device;
}

}  // namespace

std::string_view to_string(device_holder holder) noexcept {
  return enum_name<device_holder::process>(holder, "nobody", "kernel", "process");
}

asio::awaitable<std::vector<listed_device>> list_devices(async::store_client& store,
                                                         system_root root) {
  std::vector<listed_device> out;
  auto read = [&](xen::store_transaction& t) {
    out.clear();
    for (const auto& number : t.list_if_exists("device/vbd").value_or(std::vector<std::string>{}))
      if (parse_unsigned(number, "virtual device", 0, 0xFFFFFFFF))
        out.push_back(describe(t, number, root));
  };
  co_await store.transact(read);
  std::sort(out.begin(), out.end(),
            [](const listed_device& a, const listed_device& b) { return a.number < b.number; });
  std::vector<wire::guest_disk> disks;
  disks.reserve(out.size());
  for (const auto& device : out)
    disks.push_back({device.number, device.block_device});
  auto names = wire::guest_disk_names(disks);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i].name = std::move(names[i]);
  co_return out;
}

namespace {

using device_pointers = std::vector<const listed_device*>;

device_pointers select_devices(std::span<const listed_device> devices, auto&& matches) {
  device_pointers out;
  for (const auto& device : devices)
    if (matches(device)) out.push_back(&device);
  return out;
}

device_pointers find_by_name(std::span<const listed_device> devices, std::string_view name) {
  const bool is_node = name.starts_with("/dev/");
  if (is_node) name.remove_prefix(5);
  if (name.starts_with("device/vbd/")) name.remove_prefix(11);
  if (name.empty()) return {};
  if (is_node)
    if (auto bound = select_devices(
            devices, [&](const auto& device) { return device.block_device == name; });
        !bound.empty())
      return bound;
  const auto number = wire::parse_virtual_device(name);
  return select_devices(devices, [&](const listed_device& device) {
    return (number && device.number == *number) || device.name == name ||
           device.toolstack_name == name || guest_name(device) == name;
  });
}

device_pointers find_by_params(std::span<const listed_device> devices, std::string_view source) {
  // Require a full match: a path such as "/dev/vg/guest" may exist in the backend domain.
  return select_devices(devices, [&](const listed_device& device) {
    const auto colon = device.params.find(':');
    const auto path = colon == std::string::npos ? device.params : device.params.substr(colon + 1);
    return !device.params.empty() && (device.params == source || path == source);
  });
}

/// Returns text such as "768 (xvda in the guest, hda in the toolstack)".
std::string all_names(const listed_device& device) {
  const auto guest = guest_name(device);
  if (guest == device.toolstack_name) return fmt::format("{} ({})", device.number, guest);
  return fmt::format("{} ({} in the guest, {} in the toolstack)", device.number, guest,
                     device.toolstack_name);
}

}  // namespace

result<listed_device> find_device(std::span<const listed_device> devices, std::string_view name) {
  const auto subject = fmt::format("disk '{}'", name);
  auto matches = find_by_name(devices, name);
  const bool by_name = !matches.empty();
  if (!by_name) matches = find_by_params(devices, name);
  if (matches.size() == 1) return *matches.front();
  std::vector<std::string> names;
  if (matches.empty()) {
    for (const auto& device : devices)
      names.push_back(device.name);
    return make_error(errc::not_available, subject,
                      names.empty() ? std::string("this guest has no PV disk")
                                    : fmt::format("available: {}", fmt::join(names, ", ")));
  }
  for (const auto* device : matches)
    names.push_back(by_name ? all_names(*device) : device->name);
  return make_error(
      errc::invalid_argument, subject,
      by_name ? fmt::format("ambiguous: matches {}; use the number", fmt::join(names, " and "))
              : fmt::format("ambiguous: matches {}; specify one", fmt::join(names, ", ")));
}

}  // namespace xenpv::blkfront
