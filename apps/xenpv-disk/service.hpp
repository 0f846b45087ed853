// Serves disks until the service is stopped: listeners, signals, the service manager, the control
// sockets.
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
};

/// The effect of SIGHUP on a service that cannot reload its configuration. If the terminal from
/// which the service was started has closed, SIGHUP always stops the service.
enum class hang_up {
  stops_if_started_from_terminal,  ///< otherwise only logged
  stops,
};

/// The work of a service in addition to listening; each function may be empty.
struct service_work {
  /// The service stops when the task returns.
  std::function<asio::awaitable<void>()> task{};
  /// True if the task itself notifies the service manager that the service is ready and sets
  /// disk_server::is_ready. Otherwise, the service is ready immediately.
  bool task_says_ready = false;
  /// Called on the control thread after the geometry of a disk has changed.
  std::function<void()> reshaped{};
  /// Called before the service stops, while clients are still served.
  std::function<asio::awaitable<void>()> before_stop{};
  /// Reads the configuration again. Called on SIGHUP and for the reload command, on the control
  /// thread. If it throws `failure`, the error is logged and the previous configuration stays in
  /// effect. If empty, `on_hang_up` defines the effect of SIGHUP.
  std::function<asio::awaitable<void>()> reload{};
  hang_up on_hang_up = hang_up::stops_if_started_from_terminal;
  /// Called with the signal that stops the service, before the service stops.
  std::function<void(int)> stopped_by_signal{};
};

/// Listens on `sockets`, notifies the service manager, and serves until SIGTERM or SIGINT, until
/// the terminal closes (hang_up.hpp), until the last disk is lost, or until `work.task` returns. A
/// second SIGTERM or SIGINT disconnects clients that are still draining. Throws the error that
/// stopped the service early, for example one from the task.
[[nodiscard]] asio::awaitable<void> serve_until_stopped(disk_server& server, endpoints sockets,
                                                        service_work work);

}  // namespace xenpv::disk_app
