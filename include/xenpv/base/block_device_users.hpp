// Who uses a block device of the kernel's, in words: what stands in the way of taking it away.
//
// Looks at /proc and /sys; needs root to see all processes. Does not see mounts in namespaces that
// hide them from this process.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv {

/// Of the device "xvdb" or "nbd0" and its partitions: "mounted on /srv (/dev/xvdb1)", "used as swap
/// (/dev/xvdb2)", "part of dm-0", "open in process 812 (postgres)". Empty: nobody.
[[nodiscard]] std::vector<std::string> block_device_users(std::string_view name,
                                                          const system_root& root);

}  // namespace xenpv
