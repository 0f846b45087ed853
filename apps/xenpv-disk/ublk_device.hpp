// An attached device of the kernel's ublk driver. Its queues must be open when the server drops its
// privileges, so open() creates the device.
#pragma once

#include <memory>

#include "attach_options.hpp"
#include "attached_device.hpp"
#include "ublk/kernel.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::disk_app {

/// Opens the kernel's driver and checks its features. Throws `failure` with the remedy.
[[nodiscard]] std::shared_ptr<ublk::kernel_driver> open_ublk_driver();

/// Throws `failure` if the requested device exists, unless a previous server left it behind for the
/// disk. Called before the disk is taken over.
void check_ublk_device(const attach_options& options, const blkfront::listed_device& disk,
                       ublk::kernel_driver& driver);

/// `server` must outlive the object. The device is of its only disk.
[[nodiscard]] std::unique_ptr<attached_device> make_ublk_device(
    const attach_options& options, disk_server& server,
    std::shared_ptr<ublk::kernel_driver> driver);

}  // namespace xenpv::disk_app
