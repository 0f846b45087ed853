// A device of the kernel's NBD driver that outlives the server behind it (attach --keep): the
// record that a server writes for its successor, below /run/xenpv. A reboot removes both.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace xenpv::disk_app {

struct kept_device {
  std::uint32_t index = 0;      ///< of /dev/nbdN
  pid_t connected_by = 0;       ///< as in /sys/block/nbdN/pid
  std::size_t connections = 1;  ///< that the kernel expects
  std::string identity;         ///< of the disk: blkfront::frontend::identity()
};

/// The kernel's identifier for the server of a disk ("xvdb").
[[nodiscard]] std::string device_identifier(const std::string& disk);

/// Throws `failure`.
void remember_device(const std::string& disk, const kept_device& device);
void forget_device(const std::string& disk) noexcept;
/// The device that was left behind for a disk, if the kernel still has it; not a device that
/// another process has connected since. Throws `failure` for an invalid record.
[[nodiscard]] std::optional<kept_device> find_kept_device(const std::string& disk);
/// The disk for which a device was left behind; empty: none.
[[nodiscard]] std::string disk_of_kept_device(std::uint32_t index);

}  // namespace xenpv::disk_app
