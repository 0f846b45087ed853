// Names a kernel block device of a PV disk: /dev/ublkbN or /dev/nbdN. Does not look at the device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace xenpv::disk_app {

/// The kernel drivers whose block devices a process can serve.
enum class device_driver : std::uint8_t { nbd, ublk };
/// "nbd", "ublk"
[[nodiscard]] std::string_view to_string(device_driver driver) noexcept;
[[nodiscard]] std::optional<device_driver> parse_device_driver(std::string_view text) noexcept;

struct kernel_device {
  device_driver driver = device_driver::nbd;
  std::uint32_t index = 0;  ///< N in /dev/nbdN

  [[nodiscard]] std::string name() const;  ///< "nbd0", as in /sys/block
  [[nodiscard]] std::string path() const;  ///< "/dev/nbd0"
  friend bool operator==(const kernel_device&, const kernel_device&) = default;
};
/// Parses "/dev/nbd3", "nbd3", "/dev/ublkb3" or "ublkb3"; nullopt for anything else.
[[nodiscard]] std::optional<kernel_device> parse_kernel_device(std::string_view text);

}  // namespace xenpv::disk_app
