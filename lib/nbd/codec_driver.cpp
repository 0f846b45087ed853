#include "nbd/codec_driver.hpp"

#include <utility>

namespace xenpv::nbd {
namespace {

/// The kernel's version of the controller family (GENL_ID_CTRL).
constexpr std::uint8_t controller_version = 2;

using attribute_list = std::vector<netlink_attribute>;

error malformed_answer(std::string_view problem) {
  return make_error(errc::protocol_violation, "read a reply from the NBD driver", problem);
}

/// Finds a multicast group by its name in the attributes of its family.
result<std::optional<std::uint32_t>> find_group(const attribute_list& family,
                                                std::string_view name) {
  const auto* const groups = find_attribute(family, CTRL_ATTR_MCAST_GROUPS);
  if (groups == nullptr) return std::optional<std::uint32_t>();
  const auto list = decode_attributes(groups->payload);
  if (!list) return list.error();
  for (const auto& item : *list) {
    const auto group = decode_attributes(item.payload);
    if (!group) return group.error();
    const auto* const group_name = find_attribute(*group, CTRL_ATTR_MCAST_GRP_NAME);
    const auto* const group_id = find_attribute(*group, CTRL_ATTR_MCAST_GRP_ID);
    if (group_name == nullptr || group_name->text() != name || group_id == nullptr) continue;
    if (const auto id = group_id->number<std::uint32_t>()) return id;
    return malformed_answer("multicast group id of the wrong size");
  }
  return std::optional<std::uint32_t>();
}

}  // namespace

std::string_view to_string(driver_command command) noexcept {
  switch (command) {
    case driver_command::connect:
      return "NBD_CMD_CONNECT";
    case driver_command::disconnect:
      return "NBD_CMD_DISCONNECT";
    case driver_command::reconfigure:
      return "NBD_CMD_RECONFIGURE";
    case driver_command::link_dead:
      return "NBD_CMD_LINK_DEAD";
    case driver_command::status:
      return "NBD_CMD_STATUS";
  }
  return "unknown command";
}

netlink_request encode_family_request(std::uint32_t sequence, std::string_view name) {
  netlink_request out(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, controller_version, sequence);
  out.put_text(CTRL_ATTR_FAMILY_NAME, name);
  return out;
}

result<netlink_family> decode_family(std::span<const std::byte> attributes,
                                     std::string_view group) {
  const auto list = decode_attributes(attributes);
  if (!list) return list.error();
  const auto* const id = find_attribute(*list, CTRL_ATTR_FAMILY_ID);
  const auto value = id == nullptr ? std::nullopt : id->number<std::uint16_t>();
  if (!value || *value < NLMSG_MIN_TYPE) return malformed_answer("no valid family id");
  const auto group_id = find_group(*list, group);
  if (!group_id) return group_id.error();
  return netlink_family{*value, *group_id};
}

netlink_request encode_driver_request(std::uint16_t family, driver_command command,
                                      std::uint32_t sequence, const driver_request& request) {
  netlink_request out(family, static_cast<std::uint8_t>(command), NBD_GENL_VERSION, sequence);
  const auto put = [&](std::uint16_t type, const std::optional<std::uint64_t>& value) {
    if (value) out.put_u64(type, *value);
  };
  if (request.index) out.put_u32(NBD_ATTR_INDEX, *request.index);
  put(NBD_ATTR_SIZE_BYTES, request.size);
  put(NBD_ATTR_BLOCK_SIZE_BYTES, request.block_size);
  put(NBD_ATTR_TIMEOUT, request.timeout);
  put(NBD_ATTR_DEAD_CONN_TIMEOUT, request.dead_timeout);
  put(NBD_ATTR_SERVER_FLAGS, request.server_flags);
  if (!request.identifier.empty()) out.put_text(NBD_ATTR_BACKEND_IDENTIFIER, request.identifier);
  if (request.sockets.empty()) return out;
  out.nest(NBD_ATTR_SOCKETS, [&] {
    for (const int socket : request.sockets)
      out.nest(NBD_SOCK_ITEM,
               [&] { out.put_u32(NBD_SOCK_FD, static_cast<std::uint32_t>(socket)); });
  });
  return out;
}

result<std::uint32_t> decode_index(std::span<const std::byte> attributes) {
  const auto list = decode_attributes(attributes);
  if (!list) return list.error();
  const auto* const attribute = find_attribute(*list, NBD_ATTR_INDEX);
  const auto index = attribute == nullptr ? std::nullopt : attribute->number<std::uint32_t>();
  if (!index) return malformed_answer("no device number");
  return *index;
}

result<std::vector<device_status>> decode_status(std::span<const std::byte> attributes) {
  std::vector<device_status> out;
  const auto list = decode_attributes(attributes);
  if (!list) return list.error();
  const auto* const devices = find_attribute(*list, NBD_ATTR_DEVICE_LIST);
  if (devices == nullptr) return malformed_answer("no device list");
  const auto items = decode_attributes(devices->payload);
  if (!items) return items.error();
  for (const auto& item : *items) {
    const auto values = decode_attributes(item.payload);
    if (!values) return values.error();
    const auto* const index = find_attribute(*values, NBD_DEVICE_INDEX);
    const auto* const connected = find_attribute(*values, NBD_DEVICE_CONNECTED);
    const auto device_index = index == nullptr ? std::nullopt : index->number<std::uint32_t>();
    const auto state = connected == nullptr ? std::nullopt : connected->number<std::uint8_t>();
    if (!device_index || !state) return malformed_answer("device without number or state");
    out.push_back({*device_index, *state != 0});
  }
  return out;
}

}  // namespace xenpv::nbd
