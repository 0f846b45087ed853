// Attaches a block device of the kernel NBD driver to a server in this process. Connects the kernel
// and the server with socket pairs, which start in the transmission phase. Replaces failed sockets
// and passes size changes to the kernel.
//
// Used on the control thread, like the server. A request to the kernel may block on I/O that this
// process must serve, so the attachment makes such requests on a separate thread and opens devices
// in child processes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "xenpv/async/asio.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/blk/request.hpp"
#include "xenpv/nbd/kernel_driver.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {

/// Options of a kernel_attachment.
struct attachment_options {
  std::optional<std::uint32_t> index;    ///< empty: the kernel chooses
  std::size_t queues = 1;                ///< number of queues of the served device
  std::size_t connections = 1;           ///< number of connections, distributed over the queues
  std::chrono::seconds timeout{0};       ///< see kernel_device_config
  std::chrono::seconds dead_timeout{0};  ///< see kernel_device_config
  std::string identifier;                ///< see kernel_device_config
  /// Set to take over a device left behind by a previous server; `index` is then ignored. The
  /// device's dead sockets are replaced, its timeouts are changed, and waiting requests continue.
  /// The device must have the same number of connections and the same sector size. Whether it is
  /// read-only does not change.
  std::optional<std::uint32_t> adopted;
  /// The `timeout` of the previous server. If it is not 0, changing it to 0 needs Linux 5.9.
  std::chrono::seconds adopted_timeout{0};
  /// The device outlives this process (see leave_behind()). The kernel resends requests that a
  /// crashed server left unanswered: with one connection and no timeout, after at most
  /// `resend_after`; otherwise when the kernel's request timeout expires (30 s if `timeout` is 0).
  bool keep = false;
  /// Only with `keep`.
  std::chrono::milliseconds resend_after = std::chrono::seconds(2);
  /// Time limit for opening the new device for the first time.
  std::chrono::nanoseconds open_limit = std::chrono::seconds(30);
  /// Time limit for requests in flight when the device is disconnected.
  std::chrono::nanoseconds drain_limit = std::chrono::seconds(10);
  /// Where to find /sys/block and /dev.
  system_root root = system_root::from_environment();
};

class kernel_attachment {
 public:
  /// `nbd_server` must outlive this object, and must be stopped before this object is destroyed.
  /// `geometry` describes the served device.
  kernel_attachment(const asio::any_io_executor& control, server& nbd_server, kernel_driver driver,
                    const blk::geometry& geometry, attachment_options options);
  ~kernel_attachment();
  kernel_attachment(const kernel_attachment&) = delete;
  kernel_attachment& operator=(const kernel_attachment&) = delete;

  /// Creates the device and opens it once, so that its partitions also exist when this function
  /// returns. For an adopted device, only replaces the sockets. Throws `failure` after removing any
  /// new device. Call once.
  [[nodiscard]] asio::awaitable<void> connect();
  /// The path of the device, such as "/dev/nbd0"; valid after connect().
  [[nodiscard]] const std::string& path() const noexcept;
  /// The number of the device, such as 0 for /dev/nbd0; valid after connect().
  [[nodiscard]] std::uint32_t index() const noexcept;
  /// Whether the device exists. False after disconnect() or leave_behind(), and after the kernel
  /// has released the device.
  [[nodiscard]] bool is_connected() const noexcept;

  /// Maintains the device until the kernel releases it, for any reason. Throws `failure` if the
  /// device cannot be maintained. Cancellation leaves the device unchanged.
  [[nodiscard]] asio::awaitable<void> run();
  /// Call when the device has a new size; run() passes it to the kernel.
  void reshape(const blk::geometry& geometry);

  /// Writes back the page cache (for at most drain_limit), then asks the kernel to release the
  /// device. Requests that do not complete before the release fail. After drain_limit, the server
  /// closes its connections to the kernel. Logs errors from the kernel instead of throwing them.
  /// Idempotent.
  [[nodiscard]] asio::awaitable<void> disconnect();
  /// Leaves the device in place for the next server, and makes run() return once this server has
  /// closed its connections. Until the next server takes over, requests to the device wait for at
  /// most dead_timeout. Use instead of disconnect().
  void leave_behind() noexcept;

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace xenpv::nbd
