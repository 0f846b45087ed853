// A block device of the kernel's NBD driver as this system shows it: its name, who connected it,
// and opening it when it may be this very process that has to answer.
//
// Looks and opens only; nbd/kernel_driver.hpp makes and unmakes devices.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/base/system_root.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {

/// "nbd3", as /sys/block has it.
[[nodiscard]] std::string kernel_device_name(std::uint32_t index);
/// "/dev/nbd3"
[[nodiscard]] std::string kernel_device_path(std::uint32_t index);
/// From "/dev/nbd3" or "nbd3"; nullopt for anything else.
[[nodiscard]] std::optional<std::uint32_t> kernel_device_index(std::string_view word);
/// The process that connected the device; nullopt while nobody has.
[[nodiscard]] std::optional<pid_t> kernel_device_owner(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// What its user called it when it was connected; nullopt: nobody has connected it, or this kernel
/// (before 5.14) does not tell.
[[nodiscard]] std::optional<std::string> kernel_device_identifier(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// Bytes; nullopt: there is no such device.
[[nodiscard]] std::optional<std::uint64_t> kernel_device_size(
    std::uint32_t index, const system_root& root = system_root::from_environment());

/// A child process that opens a device and closes it again.
///
/// Opening makes the kernel read the partition table, and whoever has to serve that read cannot
/// wait for it. A thread would do, until the process is killed in between: the thread would hang in
/// the kernel, and with it the sockets that its request waits for. So it is a process of its own,
/// which holds nothing of ours.
class device_opening {
 public:
  enum class purpose {
    scan,        ///< partitions appear
    write_back,  ///< what the page cache holds of it is written
    claim,       ///< EBUSY if it, or a partition, is mounted, swap or part of something
  };

  /// Forks. Throws `failure`.
  device_opening(const std::string& path, purpose what);
  /// Does not wait for a child that hangs; that one ends when the device does.
  ~device_opening();
  device_opening(const device_opening&) = delete;
  device_opening& operator=(const device_opening&) = delete;

  /// Becomes readable when outcome() is there.
  [[nodiscard]] int readable() const noexcept { return outcome_.get(); }
  /// 0 or an errno. Waits for it.
  [[nodiscard]] int outcome();

 private:
  pid_t child_ = -1;
  unique_fd outcome_;
};

}  // namespace xenpv::nbd
