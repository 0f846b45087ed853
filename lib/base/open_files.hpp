// Finds the processes that have a file open, from /proc/PID/fd. Other users' processes need root;
// processes that end during the scan may be missing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv {

/// The ids of the processes that have an open file whose path `matches`, ascending.
[[nodiscard]] std::vector<unsigned> processes_with_open(
    const system_root& root, const std::function<bool(const std::string& path)>& matches);

}  // namespace xenpv
