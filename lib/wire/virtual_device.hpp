// Names and numbers of virtual block devices (xen-vbd-interface(7)). For example, "xvdb" is 51728.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::wire {

/// Parses a disk or partition name: xvdb -> 51728, xvdb1 -> 51729, xvdaa -> extended numbering
/// 1<<28 | disk<<8, hdX and sdX by their Linux major numbers. Also accepts a plain decimal number.
[[nodiscard]] result<std::uint32_t> parse_virtual_device(std::string_view name);

/// Returns the toolstack name for the number: 51728 -> xvdb, 768 -> hda. If the scheme does not
/// define a name, returns the number as text.
[[nodiscard]] std::string virtual_device_name(std::uint32_t number);

/// Returns the name that xen-blkfront in Linux assigns to the number: xvdX, regardless of the
/// toolstack name: 51728 -> xvdb, 768 (hda) -> xvda, 2049 (sda1) -> xvda1. Kernels before 3.1, and
/// enterprise kernels derived from them, number SCSI disks from xvde: prefer the name in sysfs if
/// there is one. nullopt: Linux does not attach a disk with this number.
[[nodiscard]] std::optional<std::string> linux_disk_name(std::uint32_t number);

struct guest_disk {
  std::uint32_t number = 0;
  std::optional<std::string> block_device = {};  ///< kernel name, if sysfs lists one
};
/// Returns the disk's name in the guest: the kernel name if known, otherwise the name that Linux
/// would assign, otherwise the toolstack name.
[[nodiscard]] std::string guest_disk_name(const guest_disk& disk);
/// Returns unique names for all disks of a guest. If two disks have the same name (768 and 51712
/// are both xvda), Linux can drive only one of them. That disk keeps the name; the others get their
/// toolstack name or their number.
[[nodiscard]] std::vector<std::string> guest_disk_names(std::span<const guest_disk> disks);

}  // namespace xenpv::wire
