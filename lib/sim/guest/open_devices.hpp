// Tracks the descriptors of this process that refer to simulated device files, through close(2),
// dup(2) and their variants. A descriptor that was inherited across execve(2) or received from
// another process is recognised at its first ioctl. One table per process; thread-safe; lookups
// take no lock.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "sim/guest/device_file.hpp"

namespace xenpv::sim::guest {

enum class device_kind : std::uint8_t { none, evtchn, gntdev, gntalloc, privcmd, xenbus };

/// A device file that is open on a descriptor.
struct open_device {
  device_kind kind = device_kind::none;
  /// For evtchn, the host's handle (index << 32 | generation); 0 for xenbus, which is a socket;
  /// otherwise a number for file_of().
  std::uint64_t id = 0;
};

/// The name of the memfd behind a gntdev, gntalloc or privcmd descriptor.
[[nodiscard]] const char* memfd_name(device_kind kind) noexcept;

/// Returns the device of a descriptor, or kind `none`.
[[nodiscard]] open_device find_device(int fd) noexcept;

/// Like find_device(), but also recognises a descriptor that is not in the table yet.
[[nodiscard]] open_device recognise_device(int fd) noexcept;

/// Returns the file of a gntdev, gntalloc or privcmd device; otherwise nullptr.
[[nodiscard]] std::shared_ptr<device_file> file_of(const open_device& device);

/// Opens a device. Returns a descriptor, or -1 with errno set. `flags`: O_CLOEXEC and O_NONBLOCK
/// take effect.
[[nodiscard]] int open_device_file(device_kind kind, int flags) noexcept;

/// Adds `fd`, a duplicate of a descriptor of `device`.
void add_duplicate(int fd, const open_device& device) noexcept;

/// Removes a descriptor. Call it before the descriptor is closed, because another thread may reuse
/// the number immediately, and pass the result to finish_close() afterwards.
[[nodiscard]] open_device forget_descriptor(int fd) noexcept;
/// Releases the device's resources if its last descriptor was closed.
void finish_close(const open_device& device) noexcept;

}  // namespace xenpv::sim::guest
