// The socket by which `xenpv-disk status` asks a running server: it sends its report to whoever
// connects, and hangs up.
#pragma once

#include <string>
#include <vector>

#include "served_disk.hpp"
#include "xenpv/cli/json.hpp"

namespace xenpv::disk_app {

/// Answers until cancelled. Owns the socket file.
[[nodiscard]] async::asio::awaitable<void> answer_status(served_disk& disk);

/// Reports of the servers that run: all of them, or the one of `disk` ("" for all). Throws
/// `failure` for a disk that nobody serves.
[[nodiscard]] std::vector<cli::json> ask_servers(const std::string& disk);

}  // namespace xenpv::disk_app
