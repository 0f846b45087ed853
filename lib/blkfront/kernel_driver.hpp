// Unbinds the kernel's frontend from a disk, after checking that the disk is not in use, and binds
// it again if the disk cannot be served after all.
//
// Reads /proc and /sys and writes two files in sysfs; requires root. Callers unbind a disk as the
// last step, after everything else has succeeded.
#pragma once

#include <chrono>

#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::blkfront {

/// Throws `failure` if the kernel's driver must not release the disk: EBUSY with the disk's users
/// (mounts, swap, loop, dm and md devices, processes), or not_available if the kernel's name for
/// the disk, which identifies the users, cannot be read. Changes nothing.
void check_release(const listed_device& device,
                   const system_root& root = system_root::from_environment());

/// Unbinds the kernel's driver from the disk after the same check. Keeps the block device open
/// exclusively, so that it cannot be opened between the check and the unbind. Linux' blkfront would
/// remove an open disk: since 5.16 immediately, before 5.16 when the last descriptor is closed.
/// Throws `failure`.
void take_from_kernel(const listed_device& device,
                      const system_root& root = system_root::from_environment());

/// Binds the kernel's driver again to a disk that take_from_kernel() unbound and that has not been
/// connected since. First resets both ends to their initial states (Initialising and InitWait, no
/// transport nodes). Waits up to `limit` for the backend, then up to `limit` for the block device.
/// Returns the block device's name.
///
/// After the unbind, Linux caches the device's state (Closed) until the toolstack reattaches the
/// disk. According to its source code, xen-blkfront waits for a different state before it connects.
/// If it does not connect, the driver is unbound again, the disk has no driver, and this throws
/// `failure` (timed_out). Only the toolstack can return such a disk to the kernel's driver.
/// Unbinding a driver that never connected is safe, except in Linux 5.16 and 5.17 without their
/// last fixes.
[[nodiscard]] async::asio::awaitable<std::string> give_to_kernel(
    async::store_client& store, listed_device device,
    system_root root = system_root::from_environment(),
    std::chrono::nanoseconds limit = std::chrono::seconds(5));

}  // namespace xenpv::blkfront
