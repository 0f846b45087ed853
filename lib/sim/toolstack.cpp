#include "sim/toolstack.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <fstream>

#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

std::string home(domid domain) {
  return fmt::format("/local/domain/{}", domain);
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file.flush()) throw_errno(fmt::format("write {}", path.string()));
}

}  // namespace

std::string frontend_path(domid domain, const disk_spec& disk) {
  return fmt::format("{}/device/vbd/{}", home(domain), disk.device);
}

std::string backend_path(domid domain, const disk_spec& disk) {
  return fmt::format("/local/domain/0/backend/{}/{}/{}", backend_type(disk), domain, disk.device);
}

std::vector<std::pair<std::string, std::string>> disk_nodes(const std::string& guest,
                                                            const disk_spec& disk) {
  if (disk.server != disk_server::simulator) {
    const auto server =
        disk.server == disk_server::qemu ? wire::qemu_backend : wire::command_backend;
    return {{"backend", std::string(server)}};
  }
  std::vector<std::pair<std::string, std::string>> out = {
      {"store", std::string(wire::name_in(wire::disk_stores, disk.store))},
      {"medium", fmt::format("{}/{}", guest, disk.name)},
      {"backend", std::string(wire::name_in(wire::backend_kinds, disk.backend))},
      {"sector-size", fmt::format("{}", disk.sector_size)},
      {"persistent", disk.persistent ? "1" : "0"},
      {"flush", disk.flush ? "1" : "0"},
      {"barrier", disk.barrier ? "1" : "0"},
      {"discard", disk.discard ? "1" : "0"},
      {"volatile-cache", disk.volatile_cache ? "1" : "0"},
      {"fault", fmt::format("{}", fmt::join(disk.faults, " "))}};
  const auto add = [&](const char* node, const std::optional<std::uint32_t>& value) {
    if (value) out.emplace_back(node, fmt::format("{}", *value));
  };
  if (disk.size != 0) out.emplace_back("size", fmt::format("{}", disk.size));
  add("max-queues", disk.queues);
  add("max-ring-page-order", disk.ring_order);
  add("max-indirect-segments", disk.indirect);
  return out;
}

void toolstack::write(const std::string& path, std::string_view value,
                      std::span<const store_permission> permissions) {
  store_.write(path, value);
  store_.set_permissions(path, permissions);
}

void toolstack::build_disk(domid domain, const std::string& name, const disk_spec& disk) {
  const auto front = frontend_path(domain, disk);
  const auto back = backend_path(domain, disk);
  const std::array front_permissions = {store_permission{domain, false, false},
                                        store_permission{domid_0, true, false}};
  const std::array back_permissions = {store_permission{domid_0, false, false},
                                       store_permission{domain, true, false}};
  const auto device = fmt::format("{}", disk.device);
  const auto put = [&](const std::string& path, std::string_view value, auto& permissions) {
    write(path, value, permissions);
  };
  put(back, "", back_permissions);
  put(back + "/frontend", front, back_permissions);
  put(back + "/frontend-id", fmt::format("{}", domain), back_permissions);
  put(back + "/online", "1", back_permissions);
  put(back + "/removable", disk.cdrom ? "1" : "0", back_permissions);
  put(back + "/bootable", "1", back_permissions);
  const bool is_qdisk = backend_type(disk) == "qdisk";
  // QEMU rejects a device number in place of a name.
  put(back + "/dev",
      disk.server == disk_server::qemu ? wire::virtual_device_name(disk.device) : disk.name,
      back_permissions);
  put(back + "/type", is_qdisk ? "qdisk" : "phy", back_permissions);
  put(back + "/mode", disk.read_only ? "r" : "w", back_permissions);
  put(back + "/device-type", disk.cdrom ? "cdrom" : "disk", back_permissions);
  if (disk.server == disk_server::simulator) {
    put(back + "/params", disk.path, back_permissions);
  } else {
    // libxl's name for the format "raw" is "aio".
    put(back + "/params", is_qdisk ? "aio:" + disk.path : disk.path, back_permissions);
    put(back + "/discard-enable", disk.discard && !disk.read_only ? "1" : "0", back_permissions);
  }
  for (const auto& [node, value] : disk_nodes(name, disk))
    put(fmt::format("{}/xenpv/{}", back, node), value, back_permissions);
  if (disk.vdi)
    for (const auto& [node, value] : vdi_nodes(name, disk))
      put(fmt::format("{}/sm-data/{}", back, node), value, back_permissions);
  put(back + "/state", "1", back_permissions);

  put(front, "", front_permissions);
  put(front + "/backend", back, front_permissions);
  put(front + "/backend-id", "0", front_permissions);
  put(front + "/virtual-device", device, front_permissions);
  put(front + "/device-type", disk.cdrom ? "cdrom" : "disk", front_permissions);
  put(front + "/trusted", "1", front_permissions);
  put(front + "/state", "1", front_permissions);
}

std::vector<std::pair<std::string, std::string>> toolstack::vdi_nodes(const std::string& guest,
                                                                      const disk_spec& disk) const {
  const auto moves = storage_moves_.find(guest);
  const auto uuid = fmt::format("5eed0000-0000-4000-8000-{:06x}{:06x}", disk.device,
                                moves == storage_moves_.end() ? 0 : moves->second);
  return {{"vdi-uuid", uuid}, {"scsi/0x12/0x83", fmt::format("0083:{}", uuid)}};
}

void toolstack::build_machine(const std::filesystem::path& root, domid domain,
                              std::uint32_t grant_limit, xen_version version,
                              std::filesystem::perms device_permissions) {
  write_file(root / "sys/hypervisor/type", "xen\n");
  write_file(root / "sys/hypervisor/guest_type", domain == domid_0 ? "PV\n" : "PVH\n");
  const auto files = files_of(version);
  write_file(root / "sys/hypervisor/version/major", fmt::format("{}\n", files.major));
  write_file(root / "sys/hypervisor/version/minor", fmt::format("{}\n", files.minor));
  write_file(root / "sys/hypervisor/version/extra", fmt::format("{}\n", files.extra));
  write_file(root / "proc/xen/capabilities", domain == domid_0 ? "control_d\n" : "");
  write_file(root / "sys/module/xen_gntalloc/parameters/limit", fmt::format("{}\n", grant_limit));
  for (const auto* device :
       {"dev/xen/evtchn", "dev/xen/gntalloc", "dev/xen/gntdev", "dev/xen/xenbus", "dev/xen/privcmd",
        "proc/xen/xenbus", "proc/xen/privcmd"}) {
    write_file(root / device, "");
    std::filesystem::permissions(root / device, device_permissions);
  }
}

}  // namespace xenpv::sim
