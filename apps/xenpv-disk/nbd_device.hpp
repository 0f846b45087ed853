// An attached device of the kernel NBD driver.
#pragma once

#include <memory>
#include <string>

#include "attach_options.hpp"
#include "attached_device.hpp"
#include "xenpv/nbd/kernel_driver.hpp"

namespace xenpv::disk_app {

/// Throws `failure` if the requested device is in use, unless a previous server left it behind for
/// `disk` ("xvdb"). Called before the disk is taken over: if the device is not available, the disk
/// stays with its current driver.
void check_nbd_device(const attach_options& options, const std::string& disk);

/// `server` and `disk` must outlive the object. `disk` is the only disk of the server.
[[nodiscard]] std::unique_ptr<attached_device> make_nbd_device(const attach_options& options,
                                                               disk_server& server,
                                                               nbd::kernel_driver driver);

}  // namespace xenpv::disk_app
