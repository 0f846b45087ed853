// The kernel's NBD driver, controlled over generic netlink: creates a block device (/dev/nbd0) from
// connected sockets, changes it and disconnects it. Replaces nbd-client.
//
// A thin wrapper around a netlink socket. Calls block, some until the other end of a device's
// sockets reads, so the thread that reads there must not make them. One thread at a time. Needs
// CAP_SYS_ADMIN.
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
  std::optional<std::uint32_t> index;  ///< empty: the kernel chooses a free one
  std::uint64_t size = 0;              ///< bytes
  std::uint32_t block_size = 512;      ///< a power of two up to the page size
  std::uint16_t flags = 0;             ///< the NBD protocol's transmission flags
  /// A request that takes longer has its socket replaced, or fails; 0: the kernel only warns.
  std::chrono::seconds timeout{0};
  /// How long requests wait for a new socket after the last one died; 0: they fail at once.
  std::chrono::seconds dead_timeout{0};
  /// Unix or TCP stream sockets in the transmission phase. The kernel creates a queue for each, and
  /// keeps its own references.
  std::vector<int> sockets;
  /// Shown in /sys/block/nbdN/backend, on kernels that have it; empty: none.
  std::string identifier;
};

class kernel_driver {
 public:
  /// Throws `failure`: errc::not_available, with the command that loads the driver, if it is not
  /// loaded.
  [[nodiscard]] static kernel_driver open();
  /// Uses sockets whose peer replies as the kernel does: `commands` for requests, `notices` for
  /// notifications (may be empty).
  kernel_driver(unique_fd commands, unique_fd notices);
  kernel_driver(kernel_driver&&) noexcept;
  kernel_driver& operator=(kernel_driver&&) noexcept;
  ~kernel_driver();

  /// Creates a device and returns its number. Throws `failure` with a remedy: missing capability,
  /// device in use, no more devices. Omits the identifier on kernels that do not support it.
  [[nodiscard]] std::uint32_t connect(const kernel_device_config& config);
  /// For a device that another process connected: the kernel requires its identifier for changes.
  /// Empty: it has none, or this kernel does not support identifiers.
  void adopt(std::string identifier);
  /// Changes the device's size.
  void resize(std::uint32_t index, std::uint64_t size, std::uint32_t block_size);
  /// Replaces the device's dead sockets; the kernel drops those that it does not need. Throws
  /// invalid_argument (errno) if the device is no longer connected.
  void replace_sockets(std::uint32_t index, const std::vector<int>& sockets);
  /// The kernel sends NBD_CMD_DISC on all sockets of the device, fails its requests and releases
  /// it. No effect on a device that is not connected.
  void disconnect(std::uint32_t index);
  /// nullopt: no such device. Also true for a device that is not connected, but still open.
  [[nodiscard]] std::optional<bool> is_connected(std::uint32_t index);

  /// Becomes readable when a link of any device has died; -1: not available. The driver keeps
  /// ownership.
  [[nodiscard]] int notices() const noexcept;
  /// Appends the numbers of devices with a dead link. Does not block; may be called while another
  /// thread is in another call. False: no more notifications can arrive.
  [[nodiscard]] bool take_dead_links(std::vector<std::uint32_t>& devices);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::nbd
