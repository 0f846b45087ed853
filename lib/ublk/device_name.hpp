// Names of ublk block devices and their properties as shown by sysfs. Only inspects devices;
// ublk/driver.hpp creates and changes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/base/system_root.hpp"

namespace xenpv::ublk {

/// Format a device as "/dev/ublkb3" or "ublkb3", and parse either form; nullopt for anything else.
/// @{
[[nodiscard]] std::string device_path(std::uint32_t index);
[[nodiscard]] std::string device_name(std::uint32_t index);
[[nodiscard]] std::optional<std::uint32_t> device_index(std::string_view name);
/// @}

/// The number that distinguishes the device from all other block devices since the boot, also from
/// later ones with the same name (/sys/block/ublkbN/diskseq). nullopt: there is no such device.
[[nodiscard]] std::optional<std::uint64_t> device_sequence(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// Whether the kernel refuses writes to the device; nullopt: there is no such device.
[[nodiscard]] std::optional<bool> device_is_read_only(
    std::uint32_t index, const system_root& root = system_root::from_environment());

}  // namespace xenpv::ublk
