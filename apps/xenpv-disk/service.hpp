// Serving until told to stop: listeners, signals, the service manager, the status socket.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "served_disk.hpp"

namespace xenpv::disk_app {

/// Where clients connect.
struct endpoints {
  endpoints() = default;
  endpoints(endpoints&&) noexcept = default;
  endpoints& operator=(endpoints&&) = delete;
  ~endpoints() { remove_sockets(); }
  void remove_sockets() noexcept;

  std::vector<unique_fd> listeners;
  std::vector<std::string> unix_paths;  ///< go with this
  std::vector<std::string> uris;        ///< in the order of what the user asked for
};

/// What a service does besides listening; each may be empty.
struct service_work {
  /// Its end ends the service.
  std::function<async::asio::awaitable<void>()> task{};
  /// The task tells the service manager that the service is ready, and sets served_disk::is_ready;
  /// else it is so at once.
  bool task_says_ready = false;
  /// The disk has another shape. On the control thread.
  std::function<void()> reshaped{};
  /// Once the service is to end; clients are still served.
  std::function<async::asio::awaitable<void>()> take_leave{};
};

/// Listens on `at`, tells the service manager, and serves until SIGTERM or SIGINT, until the disk
/// has come to its end, or until the task of `work` is done. A second signal while clients drain
/// cuts them off. Throws what ended the service before its time: what the task throws, for one.
[[nodiscard]] async::asio::awaitable<void> serve_until_stopped(served_disk& disk, endpoints at,
                                                               service_work work);

}  // namespace xenpv::disk_app
