// What a folder below a system_root holds. A folder that cannot be read is an empty one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::diag {

/// Names of the entries, sorted.
[[nodiscard]] std::vector<std::string> names_in(const system_root& root, std::string_view folder);

}  // namespace xenpv::diag
