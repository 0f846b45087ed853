// Controls the kernel NBD driver over generic netlink: creates a block device (/dev/nbd0) from
// connected sockets, changes it and disconnects it. Replaces nbd-client.
//
// A thin wrapper around a netlink socket. Calls block. Some of them block until the server reads
// from the device's sockets, so do not call them on the server thread. Use from one thread at a
// time. Needs CAP_SYS_ADMIN.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {

/// The configuration of a kernel device.
struct kernel_device_config {
  std::optional<std::uint32_t> index;  ///< empty: the kernel chooses a free number
  std::uint64_t size = 0;              ///< bytes
  std::uint32_t block_size = 512;      ///< a power of two up to the page size
  std::uint16_t flags = 0;             ///< NBD transmission flags
  /// If a request takes longer, its socket is replaced or the request fails. 0: the kernel only
  /// logs a warning.
  std::chrono::seconds timeout{0};
  /// How long requests wait for a new socket after the last socket died; 0: they fail immediately.
  std::chrono::seconds dead_timeout{0};
  /// Unix or TCP stream sockets in the transmission phase. The kernel creates a queue for each, and
  /// keeps its own references.
  std::vector<int> sockets;
  /// Shown in /sys/block/nbdN/backend by kernels that support it; empty: no identifier.
  std::string identifier;
};

/// New timeouts of a connected device; unset ones stay unchanged. See kernel_device_config.
struct device_timeouts {
  /// 0 removes the timeout. Linux before 5.9 instead lets every request time out immediately.
  std::optional<std::chrono::seconds> request = {};
  /// How long requests wait for a new connection when all are dead.
  std::optional<std::chrono::seconds> dead = {};
};

/// Sends requests about one kernel device through another process, for a process without the
/// privileges. Calls block and throw `failure`, as for kernel_driver. Implementations name the
/// device.
class kernel_delegate {
 public:
  kernel_delegate() = default;
  kernel_delegate(const kernel_delegate&) = delete;
  kernel_delegate& operator=(const kernel_delegate&) = delete;
  virtual ~kernel_delegate() = default;

  /// See the functions of kernel_driver.
  /// @{
  [[nodiscard]] virtual std::uint32_t connect(const kernel_device_config& config) = 0;
  virtual void resize(std::uint64_t size, std::uint32_t block_size) = 0;
  virtual void replace_sockets(const std::vector<int>& sockets,
                               const device_timeouts& timeouts) = 0;
  virtual void disconnect() = 0;
  [[nodiscard]] virtual std::optional<bool> is_connected() = 0;
  /// @}

  /// Opens the device in a child process of the other process, and, with `write_back`, writes back
  /// its page cache. Returns a descriptor from which the outcome, an int with 0 or an errno, can be
  /// read.
  [[nodiscard]] virtual unique_fd open_device(bool write_back) = 0;
  /// Sets the kernel's time limit for requests to the device.
  virtual void limit_requests(std::chrono::milliseconds limit) = 0;
  /// Lets the kernel send requests of up to `kilobytes` KiB to the device, in their order.
  virtual void prepare_queue(std::uint32_t kilobytes) = 0;
  /// Gives a Unix socket a send buffer that may exceed the system's limit.
  virtual void enlarge_buffer(int socket) = 0;
};

class kernel_driver {
 public:
  /// Throws `failure`. If the driver is not loaded, the code is errc::not_available and the message
  /// names the command that loads it.
  [[nodiscard]] static kernel_driver open();
  /// Uses the given sockets, whose peer emulates the kernel: `commands` for requests, `notices`
  /// (may be empty) for notifications.
  kernel_driver(unique_fd commands, unique_fd notices);
  kernel_driver(kernel_driver&&) noexcept;
  kernel_driver& operator=(kernel_driver&&) noexcept;
  ~kernel_driver();

  /// Creates a device and returns its number. Throws `failure` with a remedy: missing capability,
  /// device in use, device limit reached. Omits the identifier on kernels that do not support it.
  [[nodiscard]] std::uint32_t connect(const kernel_device_config& config);
  /// Sets the identifier of a device that another process connected; the kernel requires it for
  /// changes. Empty if the device lacks an identifier or this kernel does not support identifiers.
  void adopt(std::string identifier);
  /// Both sizes are in bytes.
  void resize(std::uint32_t index, std::uint64_t size, std::uint32_t block_size);
  /// Replaces the dead sockets of the device; the kernel drops surplus ones. First changes the
  /// timeouts. Throws invalid_argument (errno) if the device is no longer connected.
  void replace_sockets(std::uint32_t index, const std::vector<int>& sockets,
                       const device_timeouts& timeouts = {});
  /// Makes the kernel send NBD_CMD_DISC on all of the device's sockets, fail the pending requests
  /// and release the device. Has no effect if the device is not connected.
  void disconnect(std::uint32_t index);
  /// Also true for a device that is disconnected but still open. nullopt if the device does not
  /// exist.
  [[nodiscard]] std::optional<bool> is_connected(std::uint32_t index);

  /// Sends all further requests through `delegate`. This object still receives notifications.
  void use(std::shared_ptr<kernel_delegate> delegate) noexcept;
  /// Null: this object makes the requests itself.
  [[nodiscard]] kernel_delegate* delegate() const noexcept;

  /// Returns a descriptor that becomes readable when a link (socket) of any device has failed; -1:
  /// not available. The driver keeps ownership.
  [[nodiscard]] int notices() const noexcept;
  /// Appends the numbers of devices with a dead link. Does not block; may run concurrently with a
  /// call on another thread. Returns false once notifications can no longer arrive.
  [[nodiscard]] bool take_dead_links(std::vector<std::uint32_t>& devices);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::nbd
