// The socket over which commands control a running server: each connection carries one request and
// its answer, both JSON. server_query.hpp is the other side.
//
//   {"command": "status"}                      -> the report, see report.hpp
//   {"command": "reload"}                      -> {} or {"error": "..."}
//   {"command": "disconnect", "client": 7}     -> {} or {"error": "..."}
//
// A client that sends nothing gets the report: earlier versions of `status` and `detach` do that.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <string>

#include "cli/json.hpp"
#include "served_disk.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::disk_app {

/// Returns the path of the control socket of the server of `disk` ("xvdb").
[[nodiscard]] std::string control_path(const std::string& disk);

/// Listens from construction on; close() or the destructor removes the socket file. Use on the
/// control thread.
class control_socket {
 public:
  /// Reads the configuration again. Returns the error, if there was one.
  using reload_function = std::function<asio::awaitable<std::string>()>;

  /// Throws `failure` if the socket cannot be created.
  control_socket(const asio::any_io_executor& control, const std::string& disk);
  ~control_socket() { close(); }
  control_socket(const control_socket&) = delete;
  control_socket& operator=(const control_socket&) = delete;

  /// Disconnects all clients until cancelled. Used while there is nothing to report yet.
  [[nodiscard]] asio::awaitable<void> refuse();
  /// Answers one client after the other until cancelled. A client that is slow is disconnected.
  [[nodiscard]] asio::awaitable<void> answer(disk_server& server, served_disk& disk,
                                             reload_function reload);
  void close() noexcept;

 private:
  asio::awaitable<unique_fd> accept();

  std::string path_;
  asio::posix::stream_descriptor listener_;
};

}  // namespace xenpv::disk_app
