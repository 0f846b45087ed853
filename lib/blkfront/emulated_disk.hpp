// Detects the emulated twin of a PV disk. QEMU also presents the first disks of an HVM guest as
// IDE, AHCI or SCSI disks, unless the guest's kernel unplugs these at boot. While the guest uses
// the twin, a PV frontend would be a second driver that writes to the same disk; blkfront in Linux
// does not attach the disk in this case.
//
// Reads only /sys and /proc/cmdline.
#pragma once

#include <optional>
#include <string>

#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::blkfront {

/// Returns the twin's block device in the guest, such as "sda", or nullopt if there is no twin or
/// the disk is read-only (two drivers are then safe).
///
/// An emulated disk is matched by its position: libxl places hda to hdd and xvda to xvdd on the IDE
/// controller in this order (AHCI: six disks), and sda to sdp on the SCSI controller. If /sys does
/// not provide the position, any QEMU disk counts as the twin of any PV disk that can have one.
[[nodiscard]] std::optional<std::string> emulated_twin(
    const listed_device& device, const system_root& root = system_root::from_environment());

/// Throws `failure` (EBUSY) for `operation` if the guest has an emulated twin of the disk.
void refuse_emulated_twin(const listed_device& device, std::string_view operation,
                          const system_root& root = system_root::from_environment());

}  // namespace xenpv::blkfront
