// Names and numbers of virtual block devices (xen-vbd-interface(7)): "xvdb" is 51728, and so on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::wire {

/// The number of a disk or partition name: xvdb -> 51728, xvdb1 -> 51729, xvdaa -> extended
/// numbering 1<<28 | disk<<8, hdX and sdX by their majors; a plain decimal number is accepted.
[[nodiscard]] result<std::uint32_t> parse_virtual_device(std::string_view name);

/// The toolstack's name for the number: 51728 -> xvdb, 768 -> hda. The number itself if the scheme
/// has no name for it.
[[nodiscard]] std::string virtual_device_name(std::uint32_t number);

/// The name that Linux' xen-blkfront gives to the number: xvdX, regardless of the toolstack's name:
/// 51728 -> xvdb, 768 (hda) -> xvda, 2049 (sda1) -> xvda1. Kernels before 3.1 and their enterprise
/// derivatives count SCSI disks from xvde: prefer the name that sysfs shows, if any. nullopt: Linux
/// does not attach a disk with this number.
[[nodiscard]] std::optional<std::string> linux_disk_name(std::uint32_t number);

struct guest_disk {
  std::uint32_t number = 0;
  std::optional<std::string> block_device = {};  ///< the kernel's name, if it shows one
};
/// The disk's name in the guest: the kernel's, else the one that Linux would give it, else the
/// toolstack's.
[[nodiscard]] std::string guest_disk_name(const guest_disk& disk);
/// The names of all disks of a guest, without duplicates. Linux can drive only one of two disks
/// with the same name (768 and 51712 are both xvda): that one keeps the name, the others get the
/// toolstack's name, or their number.
[[nodiscard]] std::vector<std::string> guest_disk_names(std::span<const guest_disk> disks);

}  // namespace xenpv::wire
