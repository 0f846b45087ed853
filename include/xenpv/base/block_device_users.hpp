// The users of a block device of the kernel's, and a claim that keeps new ones away.
//
// Looks at /proc and /sys and opens the device's node; needs root to see all processes. Judges by
// the kernel's name of the device ("xvdb"), which for a PV disk may differ from the toolstack's:
// xen_block_device() finds it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv {

/// The kernel's name of the block device that its driver made of `xen_device` ("vbd-768" ->
/// "xvda"), from sysfs. nullopt: no driver is bound, it has not connected yet, or sysfs does not
/// tell.
[[nodiscard]] std::optional<std::string> xen_block_device(std::string_view xen_device,
                                                          const system_root& root);

/// What has the device "xvdb" or "nbd0", or a partition of it, for good: "mounted on /srv
/// (/dev/xvdb1)", "used as swap (/dev/xvdb2)", "part of dm-0", "behind loop0 (/dev/xvdb)", "claimed
/// (/dev/xvdb), perhaps mounted in another namespace" for what has it without showing itself here.
[[nodiscard]] std::vector<std::string> block_device_holders(std::string_view name,
                                                            const system_root& root);
/// Who has it open, perhaps only to look at it: "open in process 812 (postgres)".
[[nodiscard]] std::vector<std::string> block_device_openers(std::string_view name,
                                                            const system_root& root);
/// Both. Empty: nobody uses it.
[[nodiscard]] std::vector<std::string> block_device_users(std::string_view name,
                                                          const system_root& root);

/// Opens the device's node exclusively, then looks for users: while the descriptor is open, nobody
/// can mount the device or a partition, swap to it or make it part of another device. A loop device
/// and a plain open() need no claim and are not kept away. Descriptors of this process do not count
/// as users. Throws `failure`, with `operation` in front: EBUSY with the users, the errno of
/// open(2), not_available for a node that belongs to another device.
[[nodiscard]] unique_fd claim_block_device(std::string_view operation, std::string_view name,
                                           const system_root& root);

}  // namespace xenpv
