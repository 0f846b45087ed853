// The part that gntalloc and gntdev handles have in common in the simulator: a descriptor that
// never becomes ready, and the notices sent when a page is released (UNMAP_NOTIFY).
#pragma once

#include <cstdint>

#include "sim/control_wire.hpp"

/// The libxengnttab struct behind both xengnttab_handle and xengntshr_handle.
struct xengntdev_handle {
  int fd;
};

namespace xenpv::sim::guest {

/// Returns nullptr and sets errno if the process is not in a simulated domain. `flags`: O_CLOEXEC
/// or 0.
[[nodiscard]] xengntdev_handle* open_grant_device(int flags) noexcept;
int close_grant_device(xengntdev_handle* handle) noexcept;

/// Sends a notice to the host. `offset` and `port` are as in the C API (-1: none). Returns an
/// errno, or 0 on success.
[[nodiscard]] int set_notice(control_op op, std::uint32_t id, std::uint32_t offset,
                             std::uint32_t port) noexcept;

}  // namespace xenpv::sim::guest
