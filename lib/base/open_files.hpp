// Finds processes that have a file open, from /proc/PID/fd. Needs root to inspect processes of
// other users. May miss processes that exit during the scan.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv {

/// Returns the PIDs, in ascending order, of the processes with an open file whose path satisfies
/// `matches`.
[[nodiscard]] std::vector<unsigned> processes_with_open(
    const system_root& root, const std::function<bool(const std::string& path)>& matches);

}  // namespace xenpv
