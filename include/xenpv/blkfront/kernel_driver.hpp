// The kernel's own frontend of a disk: whether it may be asked to let go, and asking it.
//
// Reads /proc and /sys, writes one file of sysfs; needs root. Does not hand a disk back: Linux
// binds its driver again only to a device that the toolstack attached anew.
#pragma once

#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::blkfront {

/// Unbinds the kernel's driver from the disk. Throws `failure` naming the users when there are any.
void take_from_kernel(const listed_device& device,
                      const system_root& root = system_root::from_environment());

}  // namespace xenpv::blkfront
