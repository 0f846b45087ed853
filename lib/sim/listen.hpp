// Unix sockets in the file system: listen and connect.
#pragma once

#include <filesystem>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// Listens at `path`, replacing an existing file. `type` is a socket(2) type; close-on-exec is
/// always set. Throws `failure`, with a separate message if `path` is too long for a Unix socket.
[[nodiscard]] unique_fd listen_at(const std::filesystem::path& path, int type);

/// Connects to a socket created by listen_at(). Throws `failure`.
[[nodiscard]] unique_fd connect_to(const std::filesystem::path& path, int type);

}  // namespace xenpv::sim
