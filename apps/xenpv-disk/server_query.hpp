// Sends requests to running servers over their control sockets (control_socket.hpp). A server that
// does not answer is not the same as no server: it still holds its disk.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "cli/json.hpp"

namespace xenpv::disk_app {

/// A running server whose report is missing.
struct silent_server {
  std::string disk;   ///< "xvdb"
  pid_t process = 0;  ///< 0: unknown
  std::string why;    ///< "it does not answer; it may be stopped or hang"
};
/// "process 812, which serves xvdb: it does not answer; ..."
[[nodiscard]] std::string describe(const silent_server& server);

struct server_answers {
  std::vector<cli::json> reports;  ///< sorted by the disk's name
  /// The statistics of their servers, one for each server: a server may have several disks.
  std::vector<cli::json> servers;
  std::vector<silent_server> silent;  ///< sorted by the disk's name
};

/// True if `name` identifies the disk in `report`: by guest name, toolstack name, device node,
/// number or xenstore path.
[[nodiscard]] bool names_disk(const cli::json& report, std::string_view name);

/// Queries running servers for their reports, all at the same time, for at most 5 seconds: all
/// servers if `disk` is empty, otherwise only the server of `disk`, which may be any name of the
/// disk. If that server answers, ignores other servers. Throws `failure` if no server serves that
/// disk, with errc::timed_out if a server that serves it, or may serve it, does not answer.
[[nodiscard]] server_answers ask_servers(const std::string& disk);

/// Sends a request other than "status" to the server of `disk`, which may be any name of the disk.
/// Throws `failure` as ask_servers() does, and if the server refuses the request.
void command_server(const std::string& disk, const cli::json& request);

}  // namespace xenpv::disk_app
