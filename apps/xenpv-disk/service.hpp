// Serves a disk until it is stopped: listeners, signals, the service manager, the status socket.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "served_disk.hpp"

namespace xenpv::disk_app {

/// Sockets to which clients connect.
struct endpoints {
  endpoints() = default;
  endpoints(endpoints&&) noexcept = default;
  endpoints& operator=(endpoints&&) = delete;
  ~endpoints() { remove_sockets(); }
  void remove_sockets() noexcept;

  std::vector<unique_fd> listeners;
  std::vector<std::string> unix_paths;  ///< removed by the destructor
  std::vector<std::string> uris;        ///< in the order of the user's options
};

/// A service's work besides listening; each function may be empty.
struct service_work {
  /// The service ends when the task ends.
  std::function<async::asio::awaitable<void>()> task{};
  /// The task notifies the service manager that the service is ready, and sets
  /// served_disk::is_ready; otherwise the service is ready at once.
  bool task_says_ready = false;
  /// The disk's geometry has changed. Called on the control thread.
  std::function<void()> reshaped{};
  /// Called when the service is about to end; clients are still served.
  std::function<async::asio::awaitable<void>()> before_stop{};
};

/// Listens on `sockets`, notifies the service manager, and serves until SIGTERM or SIGINT, until
/// the disk is gone, or until the task of `work` is done. A second signal disconnects clients that
/// still drain. Throws the error that ended the service early, for example one from the task.
[[nodiscard]] async::asio::awaitable<void> serve_until_stopped(served_disk& disk, endpoints sockets,
                                                               service_work work);

}  // namespace xenpv::disk_app
