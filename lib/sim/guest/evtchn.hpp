// The simulated evtchn driver (Linux: drivers/xen/evtchn.c). Slow operations become messages to the
// host; notify and unmask use the shared tables. The descriptor is a pipe that carries port
// numbers, so a read needs no code except for its size. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace xenpv::sim::guest {

/// `handle`: see open_device::id. Returns a number, or -1 with errno set.
int evtchn_ioctl(std::uint64_t handle, int fd, unsigned long request, void* argument) noexcept;

/// The number of bytes that a read of `size` bytes returns at most: the driver returns only whole
/// port numbers, at most a page of them, and nothing at all if `size` is too small for one.
[[nodiscard]] std::size_t evtchn_read_size(std::size_t size) noexcept;

/// Unmasks the ports in `bytes`, as write(2) on the device does. Ignores ports that are not bound
/// to the handle.
[[nodiscard]] ssize_t evtchn_write(std::uint64_t handle, const void* bytes,
                                   std::size_t size) noexcept;

}  // namespace xenpv::sim::guest
