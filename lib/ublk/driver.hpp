// The kernel's ublk driver: commands over /dev/ublk-control, devices as /dev/ublkcN. Needs
// CAP_SYS_ADMIN. Its calls block; use from one thread at a time.
#pragma once

#include <memory>

#include "ublk/kernel.hpp"

namespace xenpv::ublk {

/// Whether the driver is loaded; it may still be too old.
[[nodiscard]] bool is_loaded();
/// Throws `failure` as control_ring does. The message names the remedy.
[[nodiscard]] std::shared_ptr<kernel_driver> open_driver();

}  // namespace xenpv::ublk
