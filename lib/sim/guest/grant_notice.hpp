// UNMAP_NOTIFY, which the gntalloc and gntdev drivers have in common.
#pragma once

#include <cstdint>

#include "sim/control_wire.hpp"

namespace xenpv::sim::guest {

/// The arguments of IOCTL_GNTALLOC_SET_UNMAP_NOTIFY and IOCTL_GNTDEV_SET_UNMAP_NOTIFY.
struct unmap_notice {
  std::uint64_t offset = 0;  ///< bytes from the start of the grant or mapping
  std::uint32_t action = 0;  ///< UNMAP_NOTIFY_*
  std::uint32_t port = 0;
};

/// Checks the action and the port. Returns 0, or -1 with errno set.
int check_notice(const unmap_notice& notice) noexcept;

/// Registers the notice at the host. `id`: the host's share or map ID. Returns 0, or -1 with errno
/// set.
int set_notice(control_op op, std::uint32_t id, const unmap_notice& notice) noexcept;

}  // namespace xenpv::sim::guest
