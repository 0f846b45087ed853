// The socket by which `xenpv-disk status` asks a running server: it sends its report to whoever
// connects, and hangs up.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "served_disk.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/cli/json.hpp"

namespace xenpv::disk_app {

/// Listens from its construction on; the file goes with close() or the object. For the control
/// thread.
class status_socket {
 public:
  /// Throws `failure` when the socket cannot be made.
  status_socket(const async::asio::any_io_executor& control, const std::string& disk);
  ~status_socket() { close(); }
  status_socket(const status_socket&) = delete;
  status_socket& operator=(const status_socket&) = delete;

  /// Hangs up on clients until cancelled: there is nothing to report yet.
  [[nodiscard]] async::asio::awaitable<void> refuse();
  /// Reports to clients until cancelled.
  [[nodiscard]] async::asio::awaitable<void> answer(served_disk& disk);
  void close() noexcept;

 private:
  async::asio::awaitable<unique_fd> accept();

  std::string path_;
  async::asio::posix::stream_descriptor listener_;
};

/// Whether `word` names the disk of a report: by the guest's name or the toolstack's, by its node,
/// its number or its path in xenstore.
[[nodiscard]] bool names_disk(const cli::json& report, std::string_view word);

/// Reports of the servers that run: all of them, or the one of `disk` ("" for all), by any of its
/// names. Throws `failure` for a disk that nobody serves.
[[nodiscard]] std::vector<cli::json> ask_servers(const std::string& disk);

}  // namespace xenpv::disk_app
