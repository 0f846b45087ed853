#include "doctor/disk_facts.hpp"

#include <fmt/format.h>

#include <array>
#include <set>

#include "base/block_device_users.hpp"
#include "base/words.hpp"
#include "wire/virtual_device.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::doctor {
namespace {

constexpr std::string_view disks = "device/vbd/";

/// Nodes that a backend publishes (blkif.h), except those that name files or hosts.
constexpr auto backend_leaves = std::to_array<std::string_view>(
    {"state", "feature-max-indirect-segments", "multi-queue-max-queues", "max-ring-page-order",
     "feature-persistent", "feature-flush-cache", "feature-barrier", "feature-discard",
     "discard-secure", "sector-size", "sectors", "mode"});

std::vector<wire::guest_disk> guest_disks(const system_root& root,
                                          const channels::store_nodes& nodes) {
  std::set<std::uint32_t> numbers;
  for (const auto& name : root.names("/sys/bus/xen/devices"))
    if (name.starts_with("vbd-"))
      if (const auto number = parse_whole<std::uint32_t>(std::string_view(name).substr(4)))
        numbers.insert(*number);
  for (const auto& [path, value] : nodes) {
    if (!path.starts_with(disks)) continue;
    const auto rest = std::string_view(path).substr(disks.size());
    if (const auto number = parse_whole<std::uint32_t>(rest.substr(0, rest.find('/'))))
      numbers.insert(*number);
  }
  std::vector<wire::guest_disk> out;
  out.reserve(numbers.size());
  for (const auto number : numbers)
    out.push_back({number, xen_block_device(fmt::format("vbd-{}", number), root)});
  return out;
}

/// Returns the nodes below `folder`, keyed by relative path.
channels::store_nodes below(const channels::store_nodes& nodes, const std::string& folder) {
  channels::store_nodes out;
  const auto start = folder + "/";
  for (auto it = nodes.lower_bound(start); it != nodes.end() && it->first.starts_with(start); ++it)
    out.emplace(it->first.substr(start.size()), it->second);
  return out;
}

void read_block_device(const system_root& root, disk_facts& disk) {
  const auto folder = "/sys/block/" + disk.block_device.value_or(disk.name);
  disk.max_segments = channels::read_number(root, folder + "/queue/max_segments");
  disk.discard_max_bytes = channels::read_number(root, folder + "/queue/discard_max_bytes");
  disk.write_cache = root.read(folder + "/queue/write_cache").value_or("");
  if (const auto queues = root.names(folder + "/mq"); !queues.empty())
    disk.hardware_queues = queues.size();
}

}  // namespace

blkfront_limits read_blkfront_limits(const system_root& root) {
  const std::string folder = "/sys/module/xen_blkfront/parameters/";
  blkfront_limits out;
  out.max_queues = channels::read_number<unsigned>(root, folder + "max_queues");
  out.max_ring_page_order = channels::read_number<unsigned>(root, folder + "max_ring_page_order");
  out.max_indirect_segments =
      channels::read_number<unsigned>(root, folder + "max_indirect_segments");
  if (const auto text = root.read(folder + "feature_persistent"))
    out.persistent = text->starts_with('Y') || text->starts_with('1');
  return out;
}

std::vector<disk_facts> make_disk_facts(const system_root& root,
                                        const channels::store_nodes& nodes) {
  std::vector<disk_facts> out;
  const auto guests = guest_disks(root, nodes);
  auto names = wire::guest_disk_names(guests);
  for (std::size_t i = 0; i < guests.size(); ++i) {
    const auto number = guests[i].number;
    disk_facts disk;
    disk.name = std::move(names[i]);
    disk.block_device = guests[i].block_device;
    disk.path = fmt::format("{}{}", disks, number);
    disk.kernel_drives = root.exists(fmt::format("/sys/bus/xen/devices/vbd-{}/driver", number));
    disk.front = below(nodes, disk.path);
    if (const auto error = nodes.find(fmt::format("error/{}/error", disk.path));
        error != nodes.end())
      disk.error = error->second;
    if (const auto backend = disk.front.find("backend"); backend != disk.front.end()) {
      disk.backend = backend->second;
      disk.back = below(nodes, disk.backend);
    }
    if (disk.kernel_drives || disk.block_device) read_block_device(root, disk);
    out.push_back(std::move(disk));
  }
  return out;
}

channels::store_nodes read_disk_backends(const channels::fact_source& source,
                                         const channels::store_nodes& nodes) {
  channels::store_nodes out;
  if (source.is_capture) return out;
  std::vector<std::string> folders;
  for (const auto& [path, value] : nodes)
    if (path.starts_with(disks) && path.ends_with("/backend")) folders.push_back(value);
  if (folders.empty()) return out;
  try {
    const auto store = xen::store::open();
    for (const auto& folder : folders) {
      for (const auto leaf : backend_leaves) {
        auto path = fmt::format("{}/{}", folder, leaf);
        try {
          if (auto value = store.read_if_exists(path))
            out.emplace(std::move(path), std::move(*value));
        } catch (const failure& problem) {
          // xenstore also reports "permission denied" for a removed backend directory.
          if (problem.code() != std::errc::permission_denied) throw;
        }
      }
    }
  } catch (const failure&) {
    // The disk check reports missing nodes as unreadable.
  }
  return out;
}

}  // namespace xenpv::doctor
