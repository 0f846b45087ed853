// Names and numbers of virtual block devices (xen-vbd-interface(7)): "xvdb" is 51728, and so on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/base/error.hpp"

namespace xenpv::wire {

/// The number of a disk or partition name: xvdb -> 51728, xvdb1 -> 51729, xvdaa -> extended
/// numbering 1<<28 | disk<<8, hdX and sdX by their majors; plain decimal is taken as it is.
[[nodiscard]] result<std::uint32_t> parse_virtual_device(std::string_view name);

/// The toolstack's name for the number: 51728 -> xvdb, 768 -> hda. The number itself where the
/// scheme has no name for it.
[[nodiscard]] std::string virtual_device_name(std::uint32_t number);

/// The name that Linux' xen-blkfront gives to the number, which is xvdX whatever the toolstack's
/// name: 51728 -> xvdb, 768 (hda) -> xvda, 2049 (sda1) -> xvda1. Kernels before 3.1 and their
/// enterprise derivatives count SCSI disks from xvde: where sysfs shows a name, that is the right
/// one. nullopt: Linux does not attach a disk of this number.
[[nodiscard]] std::optional<std::string> linux_disk_name(std::uint32_t number);

}  // namespace xenpv::wire
