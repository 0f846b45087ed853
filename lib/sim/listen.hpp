// A listening Unix socket at a path.
#pragma once

#include <filesystem>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// Replaces a file of that name. `type` as in socket(2); close-on-exec is added. Throws `failure`;
/// a path too long for a Unix socket is named as such.
[[nodiscard]] unique_fd listen_at(const std::filesystem::path& path, int type);

/// Connects to a socket made by listen_at. Throws `failure`.
[[nodiscard]] unique_fd connect_to(const std::filesystem::path& path, int type);

}  // namespace xenpv::sim
