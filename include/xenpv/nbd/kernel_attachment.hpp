// A block device of the kernel's NBD driver that a server in this process serves. Connects the two
// with socket pairs, directly in the transmission phase; replaces sockets that die, and passes size
// changes to the kernel.
//
// Lives on the control thread, beside its server. A request to the kernel may wait for I/O that
// this process serves, so the attachment makes requests on a thread of its own, and opens devices
// in child processes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "xenpv/async/asio.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/blk/geometry.hpp"
#include "xenpv/nbd/kernel_driver.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {

struct attachment_options {
  std::optional<std::uint32_t> index;  ///< empty: the kernel chooses
  std::size_t queues = 1;              ///< queues of the server's device
  std::size_t connections = 1;         ///< spread over the queues
  std::chrono::seconds timeout{0};     ///< see kernel_device_config
  std::chrono::seconds dead_timeout{0};
  std::string identifier;
  /// A device that a predecessor left behind, instead of `index`. It gets new sockets in place of
  /// the dead ones, and its users continue. Must have the same number of connections and the same
  /// sector size.
  std::optional<std::uint32_t> adopted;
  /// The device outlives this process, see leave_behind(). With one connection and no timeout, the
  /// kernel resends requests that a dead server had not answered after `resend_after` at most;
  /// otherwise when its time limit for requests expires (30 s without a timeout).
  bool keep = false;
  std::chrono::milliseconds resend_after = std::chrono::seconds(2);
  /// Time limit for the first opening of the new device.
  std::chrono::nanoseconds open_limit = std::chrono::seconds(30);
  /// Time limit for requests in flight when the device is disconnected.
  std::chrono::nanoseconds drain_limit = std::chrono::seconds(10);
  system_root root = system_root::from_environment();
};

class kernel_attachment {
 public:
  /// `nbd_server` outlives this object, and is stopped before this object is destroyed. `geometry`
  /// is the device's.
  kernel_attachment(const async::asio::any_io_executor& control, server& nbd_server,
                    kernel_driver driver, const blk::geometry& geometry,
                    attachment_options options);
  ~kernel_attachment();
  kernel_attachment(const kernel_attachment&) = delete;
  kernel_attachment& operator=(const kernel_attachment&) = delete;

  /// Creates the device and opens it once, so that its partitions exist, too, when this returns; or
  /// gives an adopted device its sockets. Throws `failure` and leaves nothing behind. Once only.
  [[nodiscard]] async::asio::awaitable<void> connect();
  /// "/dev/nbd0"; after connect().
  [[nodiscard]] const std::string& path() const noexcept;
  [[nodiscard]] std::uint32_t index() const noexcept;
  /// Whether the device exists, and was neither given up nor released by the kernel.
  [[nodiscard]] bool is_connected() const noexcept;

  /// Maintains the device until the kernel releases it, for whatever reason. Throws `failure` if
  /// the device cannot be maintained. Cancellation: the device stays as it is.
  [[nodiscard]] async::asio::awaitable<void> run();
  /// The device has a new size; run() passes it to the kernel.
  void reshape(const blk::geometry& geometry);

  /// Writes back the page cache (bounded by drain_limit), then asks the kernel to release the
  /// device: requests in flight fail for its users, unless they complete first. After drain_limit
  /// the server hangs up on the kernel. Logs the kernel's errors, never throws them. Idempotent.
  [[nodiscard]] async::asio::awaitable<void> disconnect();
  /// Ends run() once the server has hung up, and leaves the device to a successor: until then its
  /// requests wait, for dead_timeout at most. Use instead of disconnect().
  void leave_behind() noexcept;

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace xenpv::nbd
