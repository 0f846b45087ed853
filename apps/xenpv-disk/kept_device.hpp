// The record of a kernel device that outlives its server (attach --keep). A server writes the
// record below /run/xenpv for the next server. A reboot removes the device and the record.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "kernel_device.hpp"

namespace xenpv::disk_app {

struct kept_device {
  kernel_device device;
  std::string identity;  ///< disk identity, from blkfront::frontend::identity()

  /// Only of a ublk device: ublk::device_sequence().
  std::uint64_t sequence = 0;

  /// Only of an NBD device.
  /// @{
  pid_t connected_by = 0;           ///< PID of the server or its helper, from /sys/block/nbdN/pid
  std::size_t connections = 1;      ///< number of connections that the kernel expects
  std::chrono::seconds timeout{0};  ///< the kernel's request timeout; 0: none
  /// @}
};

/// Returns the identifier that the kernel stores for the server of a disk ("xvdb").
[[nodiscard]] std::string device_identifier(const std::string& disk);
/// Returns the disk that an identifier names. Throws errc::invalid_argument if device_identifier()
/// did not create the identifier.
[[nodiscard]] std::string disk_of_identifier(const std::string& identifier);

/// Returns the token that the kernel stores for the ublk devices of a disk. `number`: its virtual
/// device number.
[[nodiscard]] std::uint64_t device_token(std::uint32_t number) noexcept;
/// Whether device_token() created the token.
[[nodiscard]] bool is_device_token(std::uint64_t token) noexcept;

/// Writes the record. Throws `failure`.
void remember_device(const std::string& disk, const kept_device& device);
void forget_device(const std::string& disk) noexcept;
/// Returns the device that was left behind for a disk, if the device still exists in the kernel and
/// no other process has connected it since. Throws `failure` for an invalid record.
[[nodiscard]] std::optional<kept_device> find_kept_device(const std::string& disk);
/// Returns the disk for which the device was left behind, or an empty string.
[[nodiscard]] std::string disk_of_kept_device(const kernel_device& device);

}  // namespace xenpv::disk_app
