// Serves a disk until the service is stopped: listeners, signals, the service manager, the status
// socket.
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

/// The work of a service in addition to listening; each function may be empty.
struct service_work {
  /// The service stops when the task returns.
  std::function<asio::awaitable<void>()> task{};
  /// True if the task itself notifies the service manager that the service is ready and sets
  /// served_disk::is_ready. Otherwise, the service is ready immediately.
  bool task_says_ready = false;
  /// Called on the control thread after the disk's geometry has changed.
  std::function<void()> reshaped{};
  /// Called before the service stops, while clients are still served.
  std::function<asio::awaitable<void>()> before_stop{};
};

/// Listens on `sockets`, notifies the service manager, and serves until SIGTERM or SIGINT, until
/// the disk is lost, or until `work.task` returns. A second signal disconnects clients that are
/// still draining. Throws the error that stopped the service early, for example one from the task.
[[nodiscard]] asio::awaitable<void> serve_until_stopped(served_disk& disk, endpoints sockets,
                                                        service_work work);

}  // namespace xenpv::disk_app
