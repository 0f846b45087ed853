// Unbinds the kernel driver from a disk, after checking that the disk is not in use, and rebinds it
// if the disk cannot be served after all.
//
// Reads /proc and /sys and writes two files in sysfs; requires root. Callers unbind a disk last,
// after everything else has succeeded.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::blkfront {

/// Throws `failure` if the disk must not be unbound from the kernel driver: EBUSY with a list of
/// the disk's users (mounts, swap, loop, dm and md devices, processes), or not_available if the
/// block device name, which is needed to find the users, cannot be read. Does not change anything.
void check_release(const listed_device& device,
                   const system_root& root = system_root::from_environment());

/// Unbinds the kernel driver from the disk after the same check. Holds the block device open
/// exclusively, so that it cannot be opened between the check and the unbind: Linux blkfront
/// removes even an open disk, immediately since Linux 5.16, and when the last descriptor is closed
/// in earlier versions. Throws `failure`.
void take_from_kernel(const listed_device& device,
                      const system_root& root = system_root::from_environment());

/// Binds the disk with this number to the kernel driver, or unbinds it, without any check.
/// `operation` begins the message of an error. Throws `failure`.
/// @{
void bind_to_kernel(std::uint32_t number, const std::string& operation,
                    const system_root& root = system_root::from_environment());
void unbind_from_kernel(std::uint32_t number, const std::string& operation,
                        const system_root& root = system_root::from_environment());
/// @}

/// Binds or unbinds a disk, in another process.
struct driver_delegate {
  std::function<void()> bind;    ///< throws `failure`
  std::function<void()> unbind;  ///< throws `failure`
};

/// Rebinds the kernel driver to a disk that take_from_kernel() unbound and that has not been
/// connected since. First resets both ends to their initial states (Initialising and InitWait, no
/// transport nodes). Waits up to `limit` for the backend, then up to `limit` for the block device.
/// Returns the name of the block device.
///
/// After the unbind, Linux caches the device state (Closed) until the toolstack reattaches the
/// disk. According to its source code, xen-blkfront waits for a different state before it connects.
/// If the driver does not connect, this function unbinds it again, which leaves the disk without a
/// driver, and throws `failure` (timed_out). Only the toolstack can then return the disk to the
/// kernel driver. Unbinding a driver that never connected is safe, except in Linux 5.16 and 5.17
/// without their last fixes. `delegate` (may be empty) writes to sysfs for an unprivileged process.
[[nodiscard]] asio::awaitable<std::string> give_to_kernel(
    async::store_client& store, listed_device device,
    system_root root = system_root::from_environment(),
    std::chrono::nanoseconds limit = std::chrono::seconds(5), driver_delegate delegate = {});

}  // namespace xenpv::blkfront
