#include "blkfront/emulated_disk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#include "base/parse.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {
namespace {

enum class controller { ide, scsi };

/// The position of an emulated disk on its controller in QEMU.
struct disk_position {
  controller kind{};
  unsigned index = 0;  ///< starts at 0 and counts over all channels of the controller
  friend bool operator==(const disk_position&, const disk_position&) = default;
};

constexpr unsigned ide_ports = 2;
constexpr unsigned ide_disks = 4;
constexpr unsigned ahci_disks = 6;

/// Returns the position of the emulated twin of disk `number`, or nullopt if the disk cannot have a
/// twin. IDE and AHCI disks share one numbering.
std::optional<disk_position> twin_position(std::uint32_t number) {
  const auto minor = number & 0xFF;
  if ((number >> 28) == 1) {
    const auto disk = (number & 0x0FFFFFFF) >> 8;
    if (disk < ahci_disks) return disk_position{controller::ide, disk};
    return std::nullopt;
  }
  switch (number >> 8) {
    case 202:
      if ((minor >> 4) < ahci_disks) return disk_position{controller::ide, minor >> 4};
      return std::nullopt;
    case 3:
      return disk_position{controller::ide, minor >> 6};
    case 22:
      return disk_position{controller::ide, 2 + (minor >> 6)};
    case 8:
      return disk_position{controller::scsi, minor >> 4};
    default:
      return std::nullopt;
  }
}

/// Returns N for "ataN".
std::optional<unsigned> ata_number(std::string_view name) {
  if (!name.starts_with("ata")) return std::nullopt;
  return parse_whole<unsigned>(name.substr(3));
}

/// Returns the target (T) of a SCSI address "H:C:T:L".
std::optional<unsigned> scsi_target(std::string_view address) {
  std::vector<unsigned> parts;
  while (true) {
    const auto colon = address.find(':');
    const auto part = parse_whole<unsigned>(address.substr(0, colon));
    if (!part) return std::nullopt;
    parts.push_back(*part);
    if (colon == std::string_view::npos) break;
    address.remove_prefix(colon + 1);
  }
  if (parts.size() != 4) return std::nullopt;
  return parts[2];
}

/// Derives a disk's position from its directory in /sys/devices:
/// .../0000:00:01.1/ata1/host0/target0:0:0/0:0:0:0/block/sda.
std::optional<disk_position> position_of(const std::filesystem::path& folder) {
  std::filesystem::path parent;
  std::optional<unsigned> port;
  std::size_t ports = 0;
  std::optional<unsigned> target;
  for (const auto& part : folder) {
    const auto name = part.string();
    if (const auto number = ata_number(name)) {
      // The kernel numbers the ports of all controllers consecutively.
      std::vector<unsigned> all;
      std::error_code ignored;
      for (const auto& entry : std::filesystem::directory_iterator(parent, ignored))
        if (const auto other = ata_number(entry.path().filename().string())) all.push_back(*other);
      ports = all.size();
      port = static_cast<unsigned>(
          std::ranges::count_if(all, [&](unsigned other) { return other < *number; }));
    }
    if (!target) target = scsi_target(name);
    parent /= part;
  }
  if (!target) return std::nullopt;
  if (!port) return disk_position{controller::scsi, *target};
  return disk_position{controller::ide, ports <= ide_ports ? *port * 2 + *target : *port};
}

/// Whether the block device is a disk emulated by QEMU.
bool is_emulated(const system_root& root, const std::string& name,
                 const std::filesystem::path& folder) {
  const auto model = root.read(fmt::format("/sys/block/{}/device/model", name));
  return model && model->starts_with("QEMU HARDDISK") &&
         folder.string().find("/usb") == std::string::npos;
}

/// Returns " (xen_emul_unplug=never)" or similar from the kernel command line; empty if the command
/// line does not contain this parameter.
std::string unplug_parameter(const system_root& root) {
  std::istringstream command_line(root.read("/proc/cmdline").value_or(""));
  for (std::string parameter; command_line >> parameter;)
    if (parameter.starts_with("xen_emul_unplug=")) return fmt::format(" ({})", parameter);
  return {};
}

}  // namespace

std::optional<std::string> emulated_twin(const listed_device& device, const system_root& root) {
  const auto type = root.read("/sys/hypervisor/guest_type");
  if (type == "PV" || type == "PVH" || device.mode == "r") return std::nullopt;
  const auto expected = twin_position(device.number);
  if (!expected) return std::nullopt;
  for (const auto& name : root.names("/sys/block")) {
    std::error_code unknown;
    const auto folder = std::filesystem::canonical(root.path("/sys/block/" + name), unknown);
    if (unknown || !is_emulated(root, name, folder)) continue;
    const auto position = position_of(folder);
    if (position == expected) return name;
    if (!position && (expected->kind == controller::scsi || expected->index < ide_disks))
      return name;
  }
  return std::nullopt;
}

void refuse_emulated_twin(const listed_device& device, std::string_view operation,
                          const system_root& root) {
  const auto twin = emulated_twin(device, root);
  if (!twin) return;
  throw failure(std::make_error_code(std::errc::device_or_resource_busy), operation,
                fmt::format("this guest also accesses the disk as /dev/{}, emulated by QEMU: its "
                            "kernel did not unplug emulated disks at boot{}; reboot with unplug "
                            "enabled, or use --force",
                            *twin, unplug_parameter(root)));
}

}  // namespace xenpv::blkfront
