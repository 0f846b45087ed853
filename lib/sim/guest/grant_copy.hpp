// IOCTL_GNTDEV_GRANT_COPY. Reads the shared grant tables and copies through the granting domain's
// memfd, without involving another process.
#pragma once

namespace xenpv::sim::guest {

/// `argument`: a struct ioctl_gntdev_grant_copy. Returns 0, or -1 with errno set. Each segment has
/// its own GNTST_* status.
int grant_copy(void* argument) noexcept;

}  // namespace xenpv::sim::guest
