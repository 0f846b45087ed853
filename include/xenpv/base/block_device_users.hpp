// Who uses a block device of the kernel's, in words: what stands in the way of taking it away.
//
// Looks at /proc and /sys, and asks the kernel for the device alone; needs root to see all
// processes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv {

/// What has the device "xvdb" or "nbd0", or a partition of it, for good: "mounted on /srv
/// (/dev/xvdb1)", "used as swap (/dev/xvdb2)", "part of dm-0", "claimed (/dev/xvdb), perhaps
/// mounted in another namespace" for what has it without showing itself here.
[[nodiscard]] std::vector<std::string> block_device_holders(std::string_view name,
                                                            const system_root& root);
/// Who has it open, perhaps only to look at it: "open in process 812 (postgres)".
[[nodiscard]] std::vector<std::string> block_device_openers(std::string_view name,
                                                            const system_root& root);
/// Both. Empty: nobody uses it.
[[nodiscard]] std::vector<std::string> block_device_users(std::string_view name,
                                                          const system_root& root);

}  // namespace xenpv
