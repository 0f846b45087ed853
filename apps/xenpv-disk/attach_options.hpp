// The options of attach, and the kernel driver that they determine. Pure; attach.cpp parses the
// options and opens the drivers.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "confinement.hpp"
#include "kept_device.hpp"
#include "kernel_device.hpp"
#include "served_disk.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::disk_app {

enum class driver_choice : std::uint8_t { automatic, ublk, nbd };

struct attach_options {
  server_settings server;
  std::optional<kernel_device> device;  ///< unset: the kernel chooses the number
  driver_choice driver = driver_choice::automatic;
  /// Only for an NBD device.
  /// @{
  std::optional<std::size_t> connections;
  std::optional<std::chrono::seconds> timeout;
  std::optional<std::chrono::seconds> dead_timeout;
  /// @}
  bool background = false;
  confinement_options confined;
};

/// The driver that the options determine; nullopt: either. Returns errc::invalid_argument if they
/// contradict each other.
[[nodiscard]] result<std::optional<device_driver>> required_driver(const attach_options& options);

/// Returns errc::invalid_argument if the options contradict the device that a previous server left
/// behind for `disk`, in something that the kernel cannot change. `is_read_only`: of the device.
/// `can_remove_timeout`: the kernel can remove the request timeout of a connected NBD device.
[[nodiscard]] result<void> check_takeover(const attach_options& options, const kept_device& kept,
                                          const std::string& disk, bool is_read_only,
                                          bool can_remove_timeout);

}  // namespace xenpv::disk_app
