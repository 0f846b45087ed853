// The common part of gntalloc's and gntdev's handles on the simulator: a descriptor that never
// reports an event, and release notices.
#pragma once

#include <cstdint>

#include "sim/control_wire.hpp"

/// libxengnttab's type behind both xengnttab_handle and xengntshr_handle.
struct xengntdev_handle {
  int fd;
};

namespace xenpv::sim::guest {

/// nullptr with errno when the process is not in a simulated domain. `flags`: O_CLOEXEC or 0.
[[nodiscard]] xengntdev_handle* open_grant_device(int flags) noexcept;
int close_grant_device(xengntdev_handle* handle) noexcept;

/// Sends a notice in the C API's format (offset or port of -1: none); returns an errno.
[[nodiscard]] int set_notice(control_op op, std::uint32_t id, std::uint32_t offset,
                             std::uint32_t port) noexcept;

}  // namespace xenpv::sim::guest
