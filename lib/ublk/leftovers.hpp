// Removes the ublk devices that a killed server of the same disk left without their block device.
#pragma once

#include <cstdint>

#include "ublk/kernel.hpp"

namespace xenpv::ublk {

/// Removes the devices with this token that the kernel has stopped: a device without
/// f_user_recovery loses its block device with its server, but keeps its number. Returns false
/// while the kernel is still stopping one; call again later. Throws `failure` if there is another
/// device with this token, because its users may have cached data. Blocks as the driver does.
[[nodiscard]] bool remove_leftovers(kernel_driver& driver, std::uint64_t token);

}  // namespace xenpv::ublk
