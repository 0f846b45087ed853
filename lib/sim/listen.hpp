// Unix sockets in the file system: listen, connect, and the users who may connect.
//
// A simulated host is as powerful as its owner: its domain 0 runs commands, and its processes stop
// and kill others. So only the owner and root may join, and a user whom the owner names.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// Listens at `path`, replacing an existing file. `type` is a socket(2) type; close-on-exec is
/// always set. The file's permissions admit all users if there is an additional `user`, and only
/// the owner otherwise; in both cases, accept_permitted() checks the peer. Throws `failure`, with a
/// separate message if `path` is too long for a Unix socket.
[[nodiscard]] unique_fd listen_at(const std::filesystem::path& path, int type,
                                  std::optional<uid_t> user = {});

/// Accepts a connection if its peer is root, this process's user or `user`. Closes it otherwise,
/// and logs a warning. `flags` as for accept4(2); close-on-exec is always set. Returns no
/// descriptor if there is no connection or if it was refused.
[[nodiscard]] unique_fd accept_permitted(int listener, int flags, std::optional<uid_t> user = {});

/// Makes a directory accessible to its owner only or, if there is an additional `user`, searchable
/// for all users. Throws `failure`.
void restrict_directory(const std::filesystem::path& directory, std::optional<uid_t> user);

/// Connects to a socket created by listen_at(). Throws `failure`.
[[nodiscard]] unique_fd connect_to(const std::filesystem::path& path, int type);

}  // namespace xenpv::sim
