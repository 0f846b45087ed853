// Functions to listen on and connect to Unix sockets in the file system.
#pragma once

#include <filesystem>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// Listens at `path`, replacing an existing file. `type` as in socket(2); close-on-exec is added.
/// Throws `failure`, with a separate message for a path too long for a Unix socket.
[[nodiscard]] unique_fd listen_at(const std::filesystem::path& path, int type);

/// Connects to a socket created by listen_at(). Throws `failure`.
[[nodiscard]] unique_fd connect_to(const std::filesystem::path& path, int type);

}  // namespace xenpv::sim
