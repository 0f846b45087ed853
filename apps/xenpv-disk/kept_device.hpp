// A device of the kernel's NBD driver that outlives the server behind it (attach --keep): what a
// server writes down for its successor, below /run/xenpv. A reboot ends both.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace xenpv::disk_app {

struct kept_device {
  std::uint32_t index = 0;      ///< of /dev/nbdN
  pid_t connected_by = 0;       ///< as /sys/block/nbdN/pid has it
  std::size_t connections = 1;  ///< that the kernel wants
  std::string identity;         ///< of the disk: blkfront::frontend::identity()
};

/// What the kernel calls the server of that disk ("xvdb").
[[nodiscard]] std::string device_identifier(const std::string& disk);

/// Throws `failure`.
void remember_device(const std::string& disk, const kept_device& device);
void forget_device(const std::string& disk) noexcept;
/// The device that was left behind for that disk and that the kernel still keeps; one that somebody
/// else has connected since is not that. Throws `failure` for what nobody here can have written.
[[nodiscard]] std::optional<kept_device> find_kept_device(const std::string& disk);
/// The disk that a device was left behind for; empty: none.
[[nodiscard]] std::string disk_of_kept_device(std::uint32_t index);

}  // namespace xenpv::disk_app
