// The kernel's ublk driver: commands over /dev/ublk-control, devices as /dev/ublkcN. Needs
// CAP_SYS_ADMIN. Its calls block; use from one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "ublk/kernel.hpp"

namespace xenpv::ublk {

/// Whether the driver is loaded; it may still be too old.
[[nodiscard]] bool is_loaded();
/// Throws `failure` as control_ring does. The message names the remedy.
[[nodiscard]] std::shared_ptr<kernel_driver> open_driver();

/// Format a device as "/dev/ublkb3" or "ublkb3", and parse either form; nullopt for anything else.
/// @{
[[nodiscard]] std::string device_path(std::uint32_t index);
[[nodiscard]] std::string device_name(std::uint32_t index);
[[nodiscard]] std::optional<std::uint32_t> device_index(std::string_view name);
/// @}

}  // namespace xenpv::ublk
