// A block device of the kernel's NBD driver as shown by this system: its name, the process that
// connected it, and a way to open it while this process may have to serve it.
//
// Inspects and opens devices only; nbd/kernel_driver.hpp connects and disconnects them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/base/system_root.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {

/// "nbd3", as in /sys/block.
[[nodiscard]] std::string kernel_device_name(std::uint32_t index);
/// "/dev/nbd3"
[[nodiscard]] std::string kernel_device_path(std::uint32_t index);
/// From "/dev/nbd3" or "nbd3"; nullopt for anything else.
[[nodiscard]] std::optional<std::uint32_t> kernel_device_index(std::string_view name);
/// The process that connected the device; nullopt: not connected.
[[nodiscard]] std::optional<pid_t> kernel_device_owner(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// The identifier that the device was connected with; nullopt: not connected, or this kernel
/// (before 5.14) does not show it.
[[nodiscard]] std::optional<std::string> kernel_device_identifier(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// Bytes; nullopt: no such device.
[[nodiscard]] std::optional<std::uint64_t> kernel_device_size(
    std::uint32_t index, const system_root& root = system_root::from_environment());

/// A child process that opens a device and closes it again.
///
/// Opening makes the kernel read the partition table, and the process that serves that read cannot
/// wait for it. A thread would do, unless the process is killed meanwhile: the thread would hang in
/// the kernel, together with the sockets that its request waits for. So the opening runs in a
/// process of its own, which holds none of our descriptors.
class device_opening {
 public:
  enum class purpose {
    scan,        ///< makes partitions appear
    write_back,  ///< writes back the page cache
    claim,       ///< EBUSY if it, or a partition, is mounted, swap or in another device
  };

  /// Forks. Throws `failure`.
  device_opening(const std::string& path, purpose intent);
  /// Does not wait for a child that hangs; the child ends when the device does.
  ~device_opening();
  device_opening(const device_opening&) = delete;
  device_opening& operator=(const device_opening&) = delete;

  /// Becomes readable when outcome() is available.
  [[nodiscard]] int readable() const noexcept { return outcome_.get(); }
  /// 0 or an errno. Waits for the child.
  [[nodiscard]] int outcome();

 private:
  pid_t child_ = -1;
  unique_fd outcome_;
};

}  // namespace xenpv::nbd
