// The properties of a kernel NBD device as shown by sysfs, such as the process that connected it,
// and a way to open a device that this process may have to serve.
//
// Inspects and opens devices only; nbd/kernel_driver.hpp connects and disconnects them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "xenpv/base/system_root.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {

/// "nbd3", the name in /sys/block.
[[nodiscard]] std::string kernel_device_name(std::uint32_t index);
/// "/dev/nbd3"
[[nodiscard]] std::string kernel_device_path(std::uint32_t index);
/// Parses "/dev/nbd3" or "nbd3"; nullopt for anything else.
[[nodiscard]] std::optional<std::uint32_t> kernel_device_index(std::string_view name);
/// The process that connected the device; nullopt: not connected.
[[nodiscard]] std::optional<pid_t> kernel_device_owner(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// The identifier with which the device was connected; nullopt: not connected, or this kernel
/// (before 5.14) does not show it.
[[nodiscard]] std::optional<std::string> kernel_device_identifier(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// Throws `failure` (errc::not_available) with a message that starts with `operation` unless the
/// kernel shows this identifier: the device was disconnected, and another may have its number.
void require_kernel_device(std::uint32_t index, std::string_view identifier,
                           std::string_view operation,
                           const system_root& root = system_root::from_environment());
/// The size in bytes; nullopt: the device does not exist.
[[nodiscard]] std::optional<std::uint64_t> kernel_device_size(
    std::uint32_t index, const system_root& root = system_root::from_environment());

/// Whether the kernel refuses writes to the device; nullopt: the device does not exist.
[[nodiscard]] std::optional<bool> kernel_device_is_read_only(
    std::uint32_t index, const system_root& root = system_root::from_environment());

/// Gives `socket`, an end of a link to the kernel, buffer space for several kernel requests. May
/// exceed wmem_max; without CAP_NET_ADMIN, as large as the system permits. Throws `failure`.
void enlarge_link_buffer(int socket);

/// Sets the kernel's time limit for requests to the device (queue/io_timeout). Throws `failure`.
void limit_kernel_requests(std::uint32_t index, std::chrono::milliseconds limit,
                           const system_root& root = system_root::from_environment());

/// Lets the kernel send requests of up to `kilobytes` KiB to the device, at most as many as its
/// driver supports, and without reordering them (queue/max_sectors_kb and queue/scheduler). By
/// default, the kernel splits requests of more than 128 KiB. Throws `failure`.
void prepare_kernel_queue(std::uint32_t index, std::uint32_t kilobytes,
                          const system_root& root = system_root::from_environment());

/// A child process that opens a device and closes it again.
///
/// Opening a device makes the kernel read its partition table, so the process that serves this read
/// must not block in the call. A thread would not be enough: if the process were killed, the thread
/// would hang in the kernel and keep open the sockets that its own request needs. Therefore, a
/// child process opens the device after closing all descriptors except its report pipe.
class device_opening {
 public:
  enum class purpose {
    scan,        ///< scans the partition table
    write_back,  ///< writes back the page cache
    claim,       ///< EBUSY if the disk or a partition is mounted, swap or part of a device
  };

  /// Forks the child. Throws `failure`.
  device_opening(const std::string& path, purpose intent);
  /// Another process opens the device; `outcome` is its report pipe.
  explicit device_opening(unique_fd outcome) noexcept : outcome_(std::move(outcome)) {}
  /// Does not wait for a child that hangs; the child exits when the device is disconnected.
  ~device_opening();
  device_opening(const device_opening&) = delete;
  device_opening& operator=(const device_opening&) = delete;

  /// A descriptor that becomes readable when outcome() is available.
  [[nodiscard]] int readable() const noexcept { return outcome_.get(); }
  /// Waits for the child; returns 0 or an errno.
  [[nodiscard]] int outcome();
  /// Gives up the report pipe, and with it the outcome.
  [[nodiscard]] unique_fd release() noexcept { return std::move(outcome_); }

 private:
  pid_t child_ = -1;
  unique_fd outcome_;
};

}  // namespace xenpv::nbd
