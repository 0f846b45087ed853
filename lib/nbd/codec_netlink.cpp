#include "nbd/codec_netlink.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace xenpv::nbd {
namespace {

using wire::generic_netlink_header;
using wire::netlink_attribute_header;
using wire::netlink_header;

constexpr std::size_t padded(std::size_t size) noexcept {
  return (size + wire::netlink_alignment - 1) / wire::netlink_alignment * wire::netlink_alignment;
}

error malformed_message(std::string_view why) {
  return make_error(errc::protocol_violation, "read a netlink message", why);
}

/// `Part` must be valid for any byte pattern.
template <class Part>
Part take(std::span<const std::byte> bytes) noexcept {
  Part out;
  std::memcpy(&out, bytes.data(), sizeof out);
  return out;
}

/// Skips `size` bytes and their padding; returns an empty span past the end.
std::span<const std::byte> rest_after(std::span<const std::byte> bytes, std::size_t size) noexcept {
  return bytes.subspan(std::min(padded(size), bytes.size()));
}

/// Returns the kernel's explanation of a refusal, if any. The explanation follows the copy of the
/// refused request, which consists only of the header if the message is capped.
std::string reason_of(std::span<const std::byte> payload, std::uint16_t flags) {
  if ((flags & wire::netlink_flag_ack_tlvs) == 0) return {};
  auto tail = payload.subspan(sizeof(std::int32_t));
  if (tail.size() < sizeof(netlink_header)) return {};
  const bool is_capped = (flags & wire::netlink_flag_capped) != 0;
  const std::size_t size =
      is_capped ? sizeof(netlink_header) : std::size_t{take<netlink_header>(tail).length};
  tail = rest_after(tail, size);
  const auto attributes = decode_attributes(tail);
  // An unreadable explanation does not affect the refusal.
  if (!attributes) return {};
  const auto* const message = find_attribute(*attributes, wire::netlink_error_attribute_message);
  return message == nullptr ? std::string() : std::string(message->text());
}

result<netlink_message> decode_error(netlink_message out, std::span<const std::byte> payload,
                                     std::uint16_t flags) {
  constexpr int largest_errno = 4095;
  if (payload.size() < sizeof(std::int32_t)) return malformed_message("an error without a number");
  const auto code = take<std::int32_t>(payload);
  if (code > 0 || code < -largest_errno)
    return malformed_message(fmt::format("error number {}", code));
  out.what = code == 0 ? netlink_message::kind::acknowledged : netlink_message::kind::refused;
  out.error = -code;
  if (code != 0) out.why = reason_of(payload, flags);
  return out;
}

result<netlink_message> decode_message(const netlink_header& header,
                                       std::span<const std::byte> payload) {
  netlink_message out;
  out.type = header.type;
  out.sequence = header.sequence;
  if (header.type == wire::netlink_error)
    return decode_error(std::move(out), payload, header.flags);
  if (header.type < wire::netlink_lowest_family) return out;
  if (payload.size() < sizeof(generic_netlink_header))
    return malformed_message("no room for the family's header");
  out.what = netlink_message::kind::data;
  out.command = take<generic_netlink_header>(payload).command;
  out.attributes = payload.subspan(sizeof(generic_netlink_header));
  return out;
}

}  // namespace

netlink_request::netlink_request(std::uint16_t family, std::uint8_t command, std::uint8_t version,
                                 std::uint32_t sequence)
    : sequence_(sequence) {
  constexpr std::uint16_t flags = wire::netlink_flag_request | wire::netlink_flag_ack;
  // Port 0: the kernel fills it in.
  const netlink_header header{0, family, flags, sequence, 0};
  const generic_netlink_header generic_header{command, version, 0};
  append(std::as_bytes(std::span(&header, 1)));
  append(std::as_bytes(std::span(&generic_header, 1)));
}

void netlink_request::append(std::span<const std::byte> more) {
  bytes_.insert(bytes_.end(), more.begin(), more.end());
  bytes_.resize(padded(bytes_.size()));
  const auto length = static_cast<std::uint32_t>(bytes_.size());
  std::memcpy(bytes_.data() + offsetof(netlink_header, length), &length, sizeof length);
}

std::size_t netlink_request::open(unsigned type) {
  const auto start = bytes_.size();
  const netlink_attribute_header header{0, static_cast<std::uint16_t>(type)};
  append(std::as_bytes(std::span(&header, 1)));
  return start;
}

void netlink_request::close(std::size_t start) {
  const auto length = static_cast<std::uint16_t>(bytes_.size() - start);
  std::memcpy(bytes_.data() + start + offsetof(netlink_attribute_header, length), &length,
              sizeof length);
}

void netlink_request::put(std::uint16_t type, std::span<const std::byte> payload) {
  const auto start = open(type);
  append(payload);
  const auto length = static_cast<std::uint16_t>(sizeof(netlink_attribute_header) + payload.size());
  std::memcpy(bytes_.data() + start + offsetof(netlink_attribute_header, length), &length,
              sizeof length);
}

void netlink_request::put_u32(std::uint16_t type, std::uint32_t value) {
  put(type, std::as_bytes(std::span(&value, 1)));
}

void netlink_request::put_u64(std::uint16_t type, std::uint64_t value) {
  put(type, std::as_bytes(std::span(&value, 1)));
}

void netlink_request::put_text(std::uint16_t type, std::string_view text) {
  const std::string terminated(text.substr(0, text.find('\0')));
  put(type, std::as_bytes(std::span(terminated.c_str(), terminated.size() + 1)));
}

std::string_view netlink_attribute::text() const noexcept {
  const std::string_view all(reinterpret_cast<const char*>(payload.data()), payload.size());
  return all.substr(0, all.find('\0'));
}

result<std::vector<netlink_attribute>> decode_attributes(std::span<const std::byte> bytes) {
  constexpr unsigned flags = wire::netlink_attribute_nested | wire::netlink_attribute_net_byteorder;
  std::vector<netlink_attribute> out;
  while (bytes.size() >= sizeof(netlink_attribute_header)) {
    const auto header = take<netlink_attribute_header>(bytes);
    if (header.length < sizeof header || header.length > bytes.size())
      return malformed_message(
          fmt::format("an attribute of {} bytes where {} are left", header.length, bytes.size()));
    out.push_back({static_cast<std::uint16_t>(header.type & ~flags),
                   bytes.first(header.length).subspan(sizeof header)});
    bytes = rest_after(bytes, header.length);
  }
  return out;
}

const netlink_attribute* find_attribute(std::span<const netlink_attribute> attributes,
                                        std::uint16_t type) noexcept {
  const auto match =
      std::find_if(attributes.begin(), attributes.end(),
                   [type](const netlink_attribute& attribute) { return attribute.type == type; });
  return match == attributes.end() ? nullptr : &*match;
}

result<std::vector<netlink_message>> decode_messages(std::span<const std::byte> datagram) {
  std::vector<netlink_message> out;
  while (datagram.size() >= sizeof(netlink_header)) {
    const auto header = take<netlink_header>(datagram);
    if (header.length < sizeof header || header.length > datagram.size())
      return malformed_message(
          fmt::format("a message of {} bytes where {} are left", header.length, datagram.size()));
    auto message = decode_message(header, datagram.first(header.length).subspan(sizeof header));
    if (!message) return message.error();
    out.push_back(std::move(*message));
    datagram = rest_after(datagram, header.length);
  }
  if (!datagram.empty())
    return malformed_message(fmt::format("{} bytes too many", datagram.size()));
  return out;
}

}  // namespace xenpv::nbd
