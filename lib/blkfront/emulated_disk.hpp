// Detects the emulated twin of a PV disk. An HVM guest also sees its first disks as IDE, AHCI or
// SCSI disks of QEMU, unless its kernel unplugs these at boot. While the guest uses the twin, two
// drivers would write to the same disk; Linux' blkfront does not attach the disk in this case.
//
// Reads /sys and /proc/cmdline only.
#pragma once

#include <optional>
#include <string>

#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::blkfront {

/// The guest's block device for the twin, "sda". nullopt: there is none, or the disk is read-only,
/// which is safe with two drivers.
///
/// An emulated disk is matched by its position: libxl puts hda to hdd and xvda to xvdd on the IDE
/// controller in this order (AHCI: six disks), and sda to sdp on the SCSI controller. If /sys does
/// not show the position, any disk of QEMU counts as the twin of any PV disk that can have one.
[[nodiscard]] std::optional<std::string> emulated_twin(
    const listed_device& device, const system_root& root = system_root::from_environment());

/// Throws `failure` (EBUSY) for `operation` if the guest uses the disk's twin.
void refuse_emulated_twin(const listed_device& device, std::string_view operation,
                          const system_root& root = system_root::from_environment());

}  // namespace xenpv::blkfront
