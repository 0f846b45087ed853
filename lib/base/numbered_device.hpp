// Names of block devices that their driver numbers, such as /dev/nbd0 and /dev/ublkb3. Pure; does
// not know the drivers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace xenpv {

/// Returns N in "PREFIXN" or "/dev/PREFIXN"; nullopt for anything else, also for a partition, and
/// for a number that no block device can have.
[[nodiscard]] std::optional<std::uint32_t> parse_numbered_device(std::string_view name,
                                                                 std::string_view prefix);

}  // namespace xenpv
