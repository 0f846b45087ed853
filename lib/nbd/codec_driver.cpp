#include "nbd/codec_driver.hpp"

#include <utility>

namespace xenpv::nbd {
namespace {

using attribute_list = std::vector<netlink_attribute>;
using wire::nbd_attribute;

error malformed_answer(std::string_view problem) {
  return make_error(errc::protocol_violation, "read a reply from the NBD driver", problem);
}

constexpr std::uint16_t number(nbd_attribute attribute) noexcept {
  return static_cast<std::uint16_t>(attribute);
}

/// Finds a multicast group by its name in the attributes of its family.
result<std::optional<std::uint32_t>> find_group(const attribute_list& family,
                                                std::string_view name) {
  const auto* const groups = find_attribute(family, wire::controller_attribute_groups);
  if (groups == nullptr) return std::optional<std::uint32_t>();
  const auto list = decode_attributes(groups->payload);
  if (!list) return list.error();
  for (const auto& item : *list) {
    const auto group = decode_attributes(item.payload);
    if (!group) return group.error();
    const auto* const group_name = find_attribute(*group, wire::controller_group_name);
    const auto* const group_id = find_attribute(*group, wire::controller_group_id);
    if (group_name == nullptr || group_name->text() != name || group_id == nullptr) continue;
    if (const auto id = group_id->number<std::uint32_t>()) return id;
    return malformed_answer("a multicast group whose number has the wrong size");
  }
  return std::optional<std::uint32_t>();
}

}  // namespace

netlink_request encode_family_request(std::uint32_t sequence, std::string_view name) {
  netlink_request out(wire::controller_family, wire::controller_get_family,
                      wire::controller_version, sequence);
  out.put_text(wire::controller_attribute_family_name, name);
  return out;
}

result<netlink_family> decode_family(std::span<const std::byte> attributes,
                                     std::string_view group) {
  const auto list = decode_attributes(attributes);
  if (!list) return list.error();
  const auto* const id = find_attribute(*list, wire::controller_attribute_family_id);
  const auto value = id == nullptr ? std::nullopt : id->number<std::uint16_t>();
  if (!value || *value < wire::netlink_lowest_family)
    return malformed_answer("a family without a valid number");
  const auto group_id = find_group(*list, group);
  if (!group_id) return group_id.error();
  return netlink_family{*value, *group_id};
}

netlink_request encode_driver_request(std::uint16_t family, wire::nbd_driver_command command,
                                      std::uint32_t sequence, const driver_request& request) {
  netlink_request out(family, static_cast<std::uint8_t>(command), wire::nbd_family_version,
                      sequence);
  const auto put = [&](nbd_attribute type, const std::optional<std::uint64_t>& value) {
    if (value) out.put_u64(number(type), *value);
  };
  if (request.index) out.put_u32(number(nbd_attribute::index), *request.index);
  put(nbd_attribute::size_bytes, request.size);
  put(nbd_attribute::block_size_bytes, request.block_size);
  put(nbd_attribute::timeout, request.timeout);
  put(nbd_attribute::dead_conn_timeout, request.dead_timeout);
  put(nbd_attribute::server_flags, request.server_flags);
  if (!request.identifier.empty())
    out.put_text(number(nbd_attribute::backend_identifier), request.identifier);
  if (request.sockets.empty()) return out;
  out.nest(number(nbd_attribute::sockets), [&] {
    for (const int socket : request.sockets)
      out.nest(wire::nbd_socket_item,
               [&] { out.put_u32(wire::nbd_socket_fd, static_cast<std::uint32_t>(socket)); });
  });
  return out;
}

result<std::uint32_t> decode_index(std::span<const std::byte> attributes) {
  const auto list = decode_attributes(attributes);
  if (!list) return list.error();
  const auto* const attribute = find_attribute(*list, number(nbd_attribute::index));
  const auto index = attribute == nullptr ? std::nullopt : attribute->number<std::uint32_t>();
  if (!index) return malformed_answer("it has no device number");
  return *index;
}

result<std::vector<device_status>> decode_status(std::span<const std::byte> attributes) {
  std::vector<device_status> out;
  const auto list = decode_attributes(attributes);
  if (!list) return list.error();
  const auto* const devices = find_attribute(*list, number(nbd_attribute::device_list));
  if (devices == nullptr) return malformed_answer("a status reply without a device list");
  const auto items = decode_attributes(devices->payload);
  if (!items) return items.error();
  for (const auto& item : *items) {
    const auto values = decode_attributes(item.payload);
    if (!values) return values.error();
    const auto* const index = find_attribute(*values, wire::nbd_device_index);
    const auto* const connected = find_attribute(*values, wire::nbd_device_connected);
    const auto device_index = index == nullptr ? std::nullopt : index->number<std::uint32_t>();
    const auto state = connected == nullptr ? std::nullopt : connected->number<std::uint8_t>();
    if (!device_index || !state) return malformed_answer("a device without a number or a state");
    out.push_back({*device_index, *state != 0});
  }
  return out;
}

}  // namespace xenpv::nbd
