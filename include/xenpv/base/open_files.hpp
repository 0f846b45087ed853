// Which processes have some file open, told from /proc/PID/fd. Others' processes need root; what
// ends while one looks was not there.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv {

/// Numbers of the processes that have a file open whose path `fits`, ascending.
[[nodiscard]] std::vector<unsigned> processes_with_open(
    const system_root& root, const std::function<bool(const std::string& path)>& fits);

}  // namespace xenpv
