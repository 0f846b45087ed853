#include "xenpv/blkfront/emulated_disk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/parse.hpp"

namespace xenpv::blkfront {
namespace {

enum class controller { ide, scsi };

/// Where QEMU has an emulated disk.
struct disk_place {
  controller kind{};
  unsigned index = 0;  ///< from 0, over all channels of the controller
  friend bool operator==(const disk_place&, const disk_place&) = default;
};

constexpr unsigned ide_ports = 2;
constexpr unsigned ide_disks = 4;
constexpr unsigned ahci_disks = 6;

/// nullopt: the disk has no twin. Those of the IDE and AHCI controllers have one number space.
std::optional<disk_place> twin_place(std::uint32_t number) {
  const auto minor = number & 0xFF;
  if ((number >> 28) == 1) {
    const auto disk = (number & 0x0FFFFFFF) >> 8;
    if (disk < ahci_disks) return disk_place{controller::ide, disk};
    return std::nullopt;
  }
  switch (number >> 8) {
    case 202:
      if ((minor >> 4) < ahci_disks) return disk_place{controller::ide, minor >> 4};
      return std::nullopt;
    case 3:
      return disk_place{controller::ide, minor >> 6};
    case 22:
      return disk_place{controller::ide, 2 + (minor >> 6)};
    case 8:
      return disk_place{controller::scsi, minor >> 4};
    default:
      return std::nullopt;
  }
}

/// The number in "ata2" or "ata12".
std::optional<unsigned> ata_number(std::string_view name) {
  if (!name.starts_with("ata")) return std::nullopt;
  return parse_whole<unsigned>(name.substr(3));
}

/// The T of a SCSI address "H:C:T:L".
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

/// From its folder in /sys/devices: .../0000:00:01.1/ata1/host0/target0:0:0/0:0:0:0/block/sda.
std::optional<disk_place> place_of(const std::filesystem::path& folder) {
  std::filesystem::path parent;
  std::optional<unsigned> port;
  std::size_t ports = 0;
  std::optional<unsigned> target;
  for (const auto& part : folder) {
    const auto name = part.string();
    if (const auto number = ata_number(name)) {
      // The kernel numbers the ports of all controllers in one row.
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
  if (!port) return disk_place{controller::scsi, *target};
  return disk_place{controller::ide, ports <= ide_ports ? *port * 2 + *target : *port};
}

/// Disks of QEMU's own model that a driver of this guest drives.
bool is_emulated(const system_root& root, const std::string& name,
                 const std::filesystem::path& folder) {
  const auto model = root.read(fmt::format("/sys/block/{}/device/model", name));
  return model && model->starts_with("QEMU HARDDISK") &&
         folder.string().find("/usb") == std::string::npos;
}

/// " (xen_emul_unplug=never)" of the kernel's command line; empty: not there.
std::string unplug_parameter(const system_root& root) {
  std::istringstream words(root.read("/proc/cmdline").value_or(""));
  for (std::string word; words >> word;)
    if (word.starts_with("xen_emul_unplug=")) return fmt::format(" ({})", word);
  return {};
}

}  // namespace

std::optional<std::string> emulated_twin(const listed_device& device, const system_root& root) {
  const auto type = root.read("/sys/hypervisor/guest_type");
  if (type == "PV" || type == "PVH" || device.mode == "r") return std::nullopt;
  const auto wanted = twin_place(device.number);
  if (!wanted) return std::nullopt;
  for (const auto& name : root.names("/sys/block")) {
    std::error_code unknown;
    const auto folder = std::filesystem::canonical(root.path("/sys/block/" + name), unknown);
    if (unknown || !is_emulated(root, name, folder)) continue;
    const auto place = place_of(folder);
    if (place == wanted) return name;
    if (!place && (wanted->kind == controller::scsi || wanted->index < ide_disks)) return name;
  }
  return std::nullopt;
}

void refuse_emulated_twin(const listed_device& device, std::string_view operation,
                          const system_root& root) {
  const auto twin = emulated_twin(device, root);
  if (!twin) return;
  throw failure(std::make_error_code(std::errc::device_or_resource_busy), operation,
                fmt::format("this guest drives the same disk as /dev/{}, emulated by QEMU: its "
                            "kernel unplugged no emulated disks at boot{}; boot it so that it "
                            "does, or --force",
                            *twin, unplug_parameter(root)));
}

}  // namespace xenpv::blkfront
