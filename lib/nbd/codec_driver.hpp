// Encodes and decodes the messages of the kernel NBD driver, whose generic netlink family is
// "nbd" (linux/nbd-netlink.h, drivers/block/nbd.c). No I/O; nbd/kernel_driver.hpp sends the
// messages.
#pragma once

#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/codec_netlink.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {

/// A command of the driver's family, not of the NBD protocol.
enum class driver_command : std::uint8_t {
  connect = NBD_CMD_CONNECT,
  disconnect = NBD_CMD_DISCONNECT,
  reconfigure = NBD_CMD_RECONFIGURE,
  link_dead = NBD_CMD_LINK_DEAD,  ///< a notification to the multicast group
  status = NBD_CMD_STATUS,
};
/// Returns the name, such as "NBD_CMD_CONNECT"; "unknown command" for undefined numbers.
[[nodiscard]] std::string_view to_string(driver_command command) noexcept;

/// The numbers that the kernel assigned to a family and to one of its multicast groups.
struct netlink_family {
  std::uint16_t id = 0;
  std::optional<std::uint32_t> group;  ///< nullopt: the group does not exist
};
[[nodiscard]] netlink_request encode_family_request(std::uint32_t sequence, std::string_view name);
[[nodiscard]] result<netlink_family> decode_family(std::span<const std::byte> attributes,
                                                   std::string_view group);

/// Attributes of a request; unset and empty ones are omitted.
struct driver_request {
  std::optional<std::uint32_t> index;
  std::optional<std::uint64_t> size;  ///< bytes
  std::optional<std::uint64_t> block_size;
  std::optional<std::uint64_t> timeout;       ///< seconds; 0: none
  std::optional<std::uint64_t> dead_timeout;  ///< seconds
  std::optional<std::uint64_t> server_flags;
  std::vector<int> sockets;
  std::string identifier;
};
[[nodiscard]] netlink_request encode_driver_request(std::uint16_t family, driver_command command,
                                                    std::uint32_t sequence,
                                                    const driver_request& request);

/// Returns the device number in a reply to CONNECT or in a LINK_DEAD notification.
[[nodiscard]] result<std::uint32_t> decode_index(std::span<const std::byte> attributes);

struct device_status {
  std::uint32_t index = 0;
  bool connected = false;  ///< configured, or still open
  friend bool operator==(const device_status&, const device_status&) = default;
};
/// Decodes the reply to STATUS: one entry for each requested device that exists.
[[nodiscard]] result<std::vector<device_status>> decode_status(
    std::span<const std::byte> attributes);

}  // namespace xenpv::nbd
