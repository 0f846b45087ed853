// The kernel's NBD driver, asked over generic netlink: it makes a block device of connected sockets
// (/dev/nbd0), changes it and lets go of it. What nbd-client does, without it.
//
// A thin shell over a netlink socket. Calls block, some for as long as the other end of a device's
// sockets does not read, so they are no calls for the thread that reads there. One thread at a
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

/// What a device of the kernel's is made from.
struct kernel_device_config {
  std::optional<std::uint32_t> index;  ///< empty: the kernel chooses a free one
  std::uint64_t size = 0;              ///< bytes
  std::uint32_t block_size = 512;      ///< a power of two up to the page size
  std::uint16_t flags = 0;             ///< the NBD protocol's transmission flags
  /// A request that takes longer has its socket replaced, or fails; 0: the kernel only complains.
  std::chrono::seconds timeout{0};
  /// How long requests wait for a socket when the last one has died; 0: they fail at once.
  std::chrono::seconds dead_timeout{0};
  /// Unix or TCP stream sockets in the transmission phase, one for each queue that the kernel
  /// makes. It keeps its own reference to each.
  std::vector<int> sockets;
  /// What /sys/block/nbdN/backend shows, on kernels that have it; empty: nothing.
  std::string identifier;
};

class kernel_driver {
 public:
  /// Throws `failure`: errc::not_available when the driver is not loaded, with the words that load
  /// it.
  [[nodiscard]] static kernel_driver open();
  /// Over sockets on which somebody answers as the kernel does: `commands` for requests, `notices`
  /// for what it tells by itself (may be none).
  kernel_driver(unique_fd commands, unique_fd notices);
  kernel_driver(kernel_driver&&) noexcept;
  kernel_driver& operator=(kernel_driver&&) noexcept;
  ~kernel_driver();

  /// Makes a device and returns its number. Throws `failure` that says what to do: no right to,
  /// device in use, no more devices. Kernels that know no identifier are asked without it.
  [[nodiscard]] std::uint32_t connect(const kernel_device_config& config);
  /// For a device that another process connected: the kernel asks for its identifier on changes.
  /// Empty: it has none, or this kernel does not know of any.
  void adopt(std::string identifier);
  /// The device's size is another one now.
  void resize(std::uint32_t index, std::uint64_t size, std::uint32_t block_size);
  /// Gives the device sockets in place of those that have died; the kernel drops what it has no use
  /// for. Throws invalid_argument (errno) when the device is not connected any more.
  void replace_sockets(std::uint32_t index, const std::vector<int>& sockets);
  /// The kernel says goodbye on all sockets of the device, fails its requests and forgets it.
  /// Harmless for one that is not connected.
  void disconnect(std::uint32_t index);
  /// nullopt: there is no such device. true also while it is not connected, but open.
  [[nodiscard]] std::optional<bool> is_connected(std::uint32_t index);

  /// Becomes readable when a link of some device has died; -1: there is none. Stays the driver's.
  [[nodiscard]] int notices() const noexcept;
  /// Adds the numbers of devices of which a link has died. Does not block; may be called while
  /// another thread is in another call. false: no more can come.
  [[nodiscard]] bool take_dead_links(std::vector<std::uint32_t>& devices);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::nbd
