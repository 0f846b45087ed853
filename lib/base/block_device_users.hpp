// Finds the users of a kernel block device, and claims the device to exclude new users.
//
// Reads /proc and /sys and opens the device node; needs root to see all processes. Identifies a
// device by its kernel name ("xvdb"). For a PV disk, this may differ from the toolstack name;
// xen_block_device() returns the kernel name.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv {

/// Returns the kernel name of the block device created for `xen_device` ("vbd-768" -> "xvda"), from
/// sysfs. nullopt if no driver is bound, the driver has not connected yet, or sysfs does not list
/// the block device.
[[nodiscard]] std::optional<std::string> xen_block_device(std::string_view xen_device,
                                                          const system_root& root);

/// Returns the permanent users of the device ("xvdb", "nbd0") and of its partitions: "mounted on
/// /srv (/dev/xvdb1)", "used as swap (/dev/xvdb2)", "part of dm-0", "used by loop0 (/dev/xvdb)";
/// "claimed (/dev/xvdb), possibly mounted in another namespace" for a user that is not visible in
/// this namespace.
[[nodiscard]] std::vector<std::string> block_device_holders(std::string_view name,
                                                            const system_root& root);
/// Returns the processes that have the device open, possibly only to inspect it: "open in process
/// 812 (postgres)".
[[nodiscard]] std::vector<std::string> block_device_openers(std::string_view name,
                                                            const system_root& root);
/// Throws `failure` (EPERM) with a message that starts with `operation` if this process lacks the
/// privileges to inspect other processes' open files (CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH). Without
/// them, block_device_openers() finds none, so a device must not be considered unused.
void require_visible_openers(std::string_view operation, const system_root& root);
/// Returns holders and openers. Empty if the device is unused.
[[nodiscard]] std::vector<std::string> block_device_users(std::string_view name,
                                                          const system_root& root);

/// Opens the device node exclusively, then checks for users. While the descriptor is open, neither
/// the device nor a partition can be mounted, used as swap or added to another device. Loop devices
/// and plain open() calls are not excluded, because they do not claim the device. The file
/// descriptors of this process do not count as users. Throws `failure` with a message that starts
/// with `operation`: EPERM as require_visible_openers() does, EBUSY with the users, the errno of
/// open(2), or not_available for a node that belongs to another device.
[[nodiscard]] unique_fd claim_block_device(std::string_view operation, std::string_view name,
                                           const system_root& root);

}  // namespace xenpv
