// The emulated twin of a PV disk: an HVM guest finds its first disks a second time, as IDE, AHCI or
// SCSI disks of QEMU, unless its kernel unplugs those at boot. While the guest drives the twin, two
// drivers would write to one disk; Linux' blkfront does not attach the disk then.
//
// Looks at /sys only.
#pragma once

#include <optional>
#include <string>

#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::blkfront {

/// The block device that the guest's driver made of the twin: "sda". nullopt: there is none, or the
/// disk is read-only, which two drivers may share.
///
/// The position of an emulated disk tells whose twin it is: libxl gives hda to hdd and xvda to xvdd
/// the places of the IDE controller in their order (AHCI: six of them), and sda to sdp those of the
/// SCSI controller. Where /sys does not show the position, any disk of QEMU counts as the twin of
/// any PV disk that can have one.
[[nodiscard]] std::optional<std::string> emulated_twin(
    const listed_device& device, const system_root& root = system_root::from_environment());

/// Throws `failure` (EBUSY) with `operation` in front when the guest drives the disk's twin.
void refuse_emulated_twin(const listed_device& device, std::string_view operation,
                          const system_root& root = system_root::from_environment());

}  // namespace xenpv::blkfront
