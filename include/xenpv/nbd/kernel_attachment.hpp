// A device of the kernel's that a server of this process serves: socket pairs of which the kernel
// has one end each and the server the other, straight in the transmission phase. Keeps it going:
// new sockets for those that die, the new size when the device's changes.
//
// Lives on the control thread, beside its server. What the kernel does on our request may wait for
// what this process serves, so requests are made on a thread of the attachment's own, and devices
// are opened by child processes.
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
  std::size_t queues = 1;              ///< of the server's device
  std::size_t connections = 1;         ///< spread over the queues
  std::chrono::seconds timeout{0};     ///< see kernel_device_config
  std::chrono::seconds dead_timeout{0};
  std::string identifier;
  /// One that a predecessor left behind: it gets new sockets in place of the dead ones, and whoever
  /// uses it goes on. It has as many connections as ours, and the same sector size. In place of
  /// `index`.
  std::optional<std::uint32_t> adopted;
  /// The device is to outlive this process, see leave_behind(). Requests that a dead server had not
  /// answered are sent again `resend_after` later at most, if there is one connection and no
  /// timeout; else when the kernel's time limit for requests ends (30 s without a timeout).
  bool keep = false;
  std::chrono::milliseconds resend_after = std::chrono::seconds(2);
  /// How long the new device may take to be opened for the first time.
  std::chrono::nanoseconds open_limit = std::chrono::seconds(30);
  /// What is in flight when the device is given up has so long to come to its end.
  std::chrono::nanoseconds drain_limit = std::chrono::seconds(10);
  system_root root = system_root::from_environment();
};

class kernel_attachment {
 public:
  /// `on` outlives it, and is stopped before it is destroyed. `shape` is that of the device.
  kernel_attachment(const async::asio::any_io_executor& control, server& on, kernel_driver driver,
                    const blk::geometry& shape, attachment_options options);
  ~kernel_attachment();
  kernel_attachment(const kernel_attachment&) = delete;
  kernel_attachment& operator=(const kernel_attachment&) = delete;

  /// Makes the device and opens it once, so that its partitions are there, too, when this returns;
  /// or gives an adopted one its sockets.
  /// Throws `failure`; nothing is left then. Once only.
  [[nodiscard]] async::asio::awaitable<void> connect();
  /// "/dev/nbd0"; after connect().
  [[nodiscard]] const std::string& path() const noexcept;
  [[nodiscard]] std::uint32_t index() const noexcept;
  /// The device is made, and neither given up nor taken.
  [[nodiscard]] bool is_connected() const noexcept;

  /// Looks after the device until the kernel lets go of it, whoever asked for that. Throws
  /// `failure` when it cannot be kept. Cancellation: the device stays as it is.
  [[nodiscard]] async::asio::awaitable<void> run();
  /// The device has another size now; run() tells the kernel.
  void reshape(const blk::geometry& shape);

  /// Has the page cache written back (bounded by drain_limit), then the kernel let go of the
  /// device: what is in flight fails for its users, unless it ends first. After drain_limit the
  /// server hangs up on the kernel. Never throws for what the kernel says; logs it. Again is
  /// harmless.
  [[nodiscard]] async::asio::awaitable<void> disconnect();
  /// Ends run() once the server has hung up, and leaves the device to a successor: meanwhile its
  /// requests wait, for dead_timeout at most. In place of disconnect().
  void leave_behind() noexcept;

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace xenpv::nbd
