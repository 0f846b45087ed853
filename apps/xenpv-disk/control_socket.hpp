// The socket over which `xenpv-disk status` queries a running server: the server sends its report
// to each client that connects, and closes the connection.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/json.hpp"
#include "served_disk.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::disk_app {

/// Listens from construction on; close() or the destructor removes the socket file. Use on the
/// control thread.
class status_socket {
 public:
  /// Throws `failure` if the socket cannot be created.
  status_socket(const asio::any_io_executor& control, const std::string& disk);
  ~status_socket() { close(); }
  status_socket(const status_socket&) = delete;
  status_socket& operator=(const status_socket&) = delete;

  /// Disconnects all clients until cancelled. Used while there is nothing to report yet.
  [[nodiscard]] asio::awaitable<void> refuse();
  /// Sends a report to each client until cancelled.
  [[nodiscard]] asio::awaitable<void> answer(served_disk& disk);
  void close() noexcept;

 private:
  asio::awaitable<unique_fd> accept();

  std::string path_;
  asio::posix::stream_descriptor listener_;
};

/// True if `name` identifies the disk in `report`: by guest name, toolstack name, device node,
/// number or xenstore path.
[[nodiscard]] bool names_disk(const cli::json& report, std::string_view name);

/// Queries running servers for their reports: all servers if `disk` is empty, otherwise only the
/// server of `disk`, which may be any name of the disk. Throws `failure` if no server serves that
/// disk.
[[nodiscard]] std::vector<cli::json> ask_servers(const std::string& disk);

}  // namespace xenpv::disk_app
