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

/// Listens on `at`, tells the service manager, and serves until SIGTERM or SIGINT, until the disk
/// has come to its end, or until `task` (may be empty) is done. A second signal while clients drain
/// cuts them off. Throws what ended the service before its time: what `task` throws, for one.
[[nodiscard]] async::asio::awaitable<void> serve_until_stopped(
    served_disk& disk, endpoints at, std::function<async::asio::awaitable<void>()> task);

}  // namespace xenpv::disk_app
