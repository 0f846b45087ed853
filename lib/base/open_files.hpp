// Finds the processes that have a file open, from /proc/PID/fd. Inspecting other users' processes
// requires root. Processes that exit during the scan may be missing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv {

/// The ids, in ascending order, of the processes that have an open file whose path `matches`.
[[nodiscard]] std::vector<unsigned> processes_with_open(
    const system_root& root, const std::function<bool(const std::string& path)>& matches);

}  // namespace xenpv
