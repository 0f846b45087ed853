// The kernel's own frontend of a disk: asking whether it can release the disk, having it do so, and
// giving the disk back when it cannot be served after all.
//
// Reads /proc and /sys, writes two files of sysfs; needs root. Decides nothing: callers take a disk
// last, once all else is known to work.
#pragma once

#include <chrono>

#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::blkfront {

/// Throws `failure` when the kernel's driver must not release the disk: EBUSY with its users
/// (mounts, swap, loop, dm and md devices, processes), not_available when the kernel's name of the
/// disk cannot be read, since users are found by that name. Changes nothing.
void check_release(const listed_device& device,
                   const system_root& root = system_root::from_environment());

/// Unbinds the kernel's driver from the disk after the same check. Holds the block device
/// exclusively meanwhile, so that nobody can begin to use it between the check and the unbind:
/// Linux' blkfront removes a disk that is open, in 5.16 and later at once, before that when the
/// last descriptor is closed. Throws `failure`.
void take_from_kernel(const listed_device& device,
                      const system_root& root = system_root::from_environment());

/// Binds the kernel's driver again to a disk that take_from_kernel() took and nobody has connected
/// since. Brings both ends back to where a driver begins (Initialising and InitWait, no transport
/// nodes) first. Waits up to `limit` for the backend, and again for the block device; returns its
/// name.
///
/// Linux remembers the state of a device whose driver was unbound (Closed) until the toolstack
/// attaches the disk anew, and by its source xen-blkfront waits for another state before it
/// connects: then the driver is unbound again, the disk is nobody's, and this throws `failure`
/// (timed_out). Only the toolstack brings such a disk back to the kernel. Unbinding a driver that
/// never connected is safe but in Linux 5.16 and 5.17 without their last fixes.
[[nodiscard]] async::asio::awaitable<std::string> give_to_kernel(
    async::store_client& store, listed_device device,
    system_root root = system_root::from_environment(),
    std::chrono::nanoseconds limit = std::chrono::seconds(5));

}  // namespace xenpv::blkfront
