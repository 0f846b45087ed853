// The parts of netlink and generic netlink (linux/netlink.h, linux/genetlink.h) that are needed to
// control the kernel's NBD driver, and the driver's generic netlink family (linux/nbd-netlink.h).
// Host byte order. Numbers and layouts are asserted against Linux' own in tests/unit/wire.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace xenpv::wire {

/// struct nlmsghdr: `length` includes this header.
struct netlink_header {
  std::uint32_t length;
  std::uint16_t type;
  std::uint16_t flags;
  std::uint32_t sequence;
  std::uint32_t port;
};
static_assert(sizeof(netlink_header) == 16);
static_assert(offsetof(netlink_header, length) == 0);
static_assert(offsetof(netlink_header, type) == 4);
static_assert(offsetof(netlink_header, flags) == 6);
static_assert(offsetof(netlink_header, sequence) == 8);
static_assert(offsetof(netlink_header, port) == 12);

/// struct genlmsghdr: follows the netlink header of every message whose type is a family's id.
struct generic_netlink_header {
  std::uint8_t command;
  std::uint8_t version;
  std::uint16_t reserved;
};
static_assert(sizeof(generic_netlink_header) == 4);
static_assert(offsetof(generic_netlink_header, command) == 0);
static_assert(offsetof(generic_netlink_header, version) == 1);
static_assert(offsetof(generic_netlink_header, reserved) == 2);

/// struct nlattr: `length` includes this header, but not the padding after the payload.
struct netlink_attribute_header {
  std::uint16_t length;
  std::uint16_t type;
};
static_assert(sizeof(netlink_attribute_header) == 4);
static_assert(offsetof(netlink_attribute_header, length) == 0);
static_assert(offsetof(netlink_attribute_header, type) == 2);

static_assert(std::is_trivially_copyable_v<netlink_header>);
static_assert(std::is_trivially_copyable_v<generic_netlink_header>);
static_assert(std::is_trivially_copyable_v<netlink_attribute_header>);

/// Alignment of messages and attributes.
inline constexpr std::size_t netlink_alignment = 4;

// NLMSG_*: message types below the range of family ids.
inline constexpr std::uint16_t netlink_noop = 1;
inline constexpr std::uint16_t netlink_error = 2;  ///< error 0 is an acknowledgement
inline constexpr std::uint16_t netlink_done = 3;
inline constexpr std::uint16_t netlink_overrun = 4;
inline constexpr std::uint16_t netlink_lowest_family = 0x10;

// NLM_F_*
inline constexpr std::uint16_t netlink_flag_request = 0x01;
inline constexpr std::uint16_t netlink_flag_multi = 0x02;
inline constexpr std::uint16_t netlink_flag_ack = 0x04;
inline constexpr std::uint16_t netlink_flag_capped =
    0x100;  ///< the error does not include the rejected message
inline constexpr std::uint16_t netlink_flag_ack_tlvs = 0x200;

// Bits in the type field of an attribute that are not part of its number.
inline constexpr std::uint16_t netlink_attribute_nested = 1U << 15U;
inline constexpr std::uint16_t netlink_attribute_net_byteorder = 1U << 14U;

/// NLMSGERR_ATTR_MSG: the kernel's error text.
inline constexpr std::uint16_t netlink_error_attribute_message = 1;

// The controller family, which lists all others (GENL_ID_CTRL, CTRL_*).
inline constexpr std::uint16_t controller_family = 0x10;
inline constexpr std::uint8_t controller_version = 2;
inline constexpr std::uint8_t controller_new_family = 1;
inline constexpr std::uint8_t controller_get_family = 3;
inline constexpr std::uint16_t controller_attribute_family_id = 1;
inline constexpr std::uint16_t controller_attribute_family_name = 2;
inline constexpr std::uint16_t controller_attribute_groups = 7;
inline constexpr std::uint16_t controller_group_name = 1;
inline constexpr std::uint16_t controller_group_id = 2;

// The generic netlink family of the NBD driver.
inline constexpr std::string_view nbd_family = "nbd";
inline constexpr std::uint8_t nbd_family_version = 1;
inline constexpr std::string_view nbd_family_group = "nbd_mc_group";

/// NBD_CMD_* of the netlink family, not of the NBD protocol.
enum class nbd_driver_command : std::uint8_t {
  connect = 1,
  disconnect = 2,
  reconfigure = 3,
  link_dead = 4,  ///< a notification to the multicast group
  status = 5,
};
/// The name, such as "NBD_CMD_CONNECT"; "unknown command" for undefined numbers.
[[nodiscard]] std::string_view to_string(nbd_driver_command command) noexcept;

/// NBD_ATTR_*
enum class nbd_attribute : std::uint16_t {
  index = 1,               ///< u32
  size_bytes = 2,          ///< u64, as are all attributes up to client_flags
  block_size_bytes = 3,    //
  timeout = 4,             ///< seconds
  server_flags = 5,        ///< the NBD protocol's transmission flags
  client_flags = 6,        //
  sockets = 7,             ///< nested: nbd_socket_item, nested: nbd_socket_fd
  dead_conn_timeout = 8,   ///< u64, seconds
  device_list = 9,         ///< nested: nbd_device_item, nested: index and connected below
  backend_identifier = 10  ///< text; since Linux 5.14
};
inline constexpr std::uint16_t nbd_socket_item = 1;
inline constexpr std::uint16_t nbd_socket_fd = 1;         ///< u32
inline constexpr std::uint16_t nbd_device_item = 1;       //
inline constexpr std::uint16_t nbd_device_index = 1;      ///< u32
inline constexpr std::uint16_t nbd_device_connected = 2;  ///< u8

}  // namespace xenpv::wire
