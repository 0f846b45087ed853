#include "nbd/codec_netlink.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace xenpv::nbd {
namespace {

constexpr std::size_t padded(std::size_t size) noexcept {
  return (size + NLMSG_ALIGNTO - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
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

/// Returns the kernel's extended ACK message for a failed request, if any. The message follows the
/// copy of the request, which consists only of the header if NLM_F_CAPPED is set.
std::string reason_of(std::span<const std::byte> payload, std::uint16_t flags) {
  if ((flags & NLM_F_ACK_TLVS) == 0) return {};
  auto tail = payload.subspan(sizeof(std::int32_t));
  if (tail.size() < sizeof(nlmsghdr)) return {};
  const bool is_capped = (flags & NLM_F_CAPPED) != 0;
  const std::size_t size =
      is_capped ? sizeof(nlmsghdr) : std::size_t{take<nlmsghdr>(tail).nlmsg_len};
  tail = rest_after(tail, size);
  const auto attributes = decode_attributes(tail);
  // Report the error even if the extended ACK attributes are malformed.
  if (!attributes) return {};
  const auto* const message = find_attribute(*attributes, NLMSGERR_ATTR_MSG);
  return message == nullptr ? std::string() : std::string(message->text());
}

result<netlink_message> decode_error(netlink_message out, std::span<const std::byte> payload,
                                     std::uint16_t flags) {
  constexpr int largest_errno = 4095;
  if (payload.size() < sizeof(std::int32_t)) return malformed_message("truncated error");
  const auto code = take<std::int32_t>(payload);
  if (code > 0 || code < -largest_errno)
    return malformed_message(fmt::format("error number {}", code));
  out.what = code == 0 ? netlink_message::kind::acknowledged : netlink_message::kind::refused;
  out.error = -code;
  if (code != 0) out.why = reason_of(payload, flags);
  return out;
}

result<netlink_message> decode_message(const nlmsghdr& header, std::span<const std::byte> payload) {
  netlink_message out;
  out.type = header.nlmsg_type;
  out.sequence = header.nlmsg_seq;
  if (header.nlmsg_type == NLMSG_ERROR)
    return decode_error(std::move(out), payload, header.nlmsg_flags);
  if (header.nlmsg_type < NLMSG_MIN_TYPE) return out;
  if (payload.size() < sizeof(genlmsghdr)) return malformed_message("truncated family header");
  out.what = netlink_message::kind::data;
  out.command = take<genlmsghdr>(payload).cmd;
  out.attributes = payload.subspan(sizeof(genlmsghdr));
  return out;
}

}  // namespace

netlink_request::netlink_request(std::uint16_t family, std::uint8_t command, std::uint8_t version,
                                 std::uint32_t sequence)
    : sequence_(sequence) {
  constexpr std::uint16_t flags = NLM_F_REQUEST | NLM_F_ACK;
  // Port 0: the kernel fills it in.
  const nlmsghdr header{0, family, flags, sequence, 0};
  const genlmsghdr generic_header{command, version, 0};
  append(std::as_bytes(std::span(&header, 1)));
  append(std::as_bytes(std::span(&generic_header, 1)));
}

void netlink_request::append(std::span<const std::byte> more) {
  bytes_.insert(bytes_.end(), more.begin(), more.end());
  bytes_.resize(padded(bytes_.size()));
  const auto length = static_cast<std::uint32_t>(bytes_.size());
  std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
}

std::size_t netlink_request::open(std::uint16_t type) {
  const auto start = bytes_.size();
  const nlattr header{0, type};
  append(std::as_bytes(std::span(&header, 1)));
  return start;
}

void netlink_request::close(std::size_t start) {
  const auto length = static_cast<std::uint16_t>(bytes_.size() - start);
  std::memcpy(bytes_.data() + start + offsetof(nlattr, nla_len), &length, sizeof length);
}

void netlink_request::put(std::uint16_t type, std::span<const std::byte> payload) {
  const auto start = open(type);
  append(payload);
  const auto length = static_cast<std::uint16_t>(sizeof(nlattr) + payload.size());
  std::memcpy(bytes_.data() + start + offsetof(nlattr, nla_len), &length, sizeof length);
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
  constexpr unsigned flags = NLA_F_NESTED | NLA_F_NET_BYTEORDER;
  std::vector<netlink_attribute> out;
  while (bytes.size() >= sizeof(nlattr)) {
    const auto header = take<nlattr>(bytes);
    if (header.nla_len < sizeof header || header.nla_len > bytes.size())
      return malformed_message(
          fmt::format("attribute length {} with {} bytes left", header.nla_len, bytes.size()));
    out.push_back({static_cast<std::uint16_t>(header.nla_type & ~flags),
                   bytes.first(header.nla_len).subspan(sizeof header)});
    bytes = rest_after(bytes, header.nla_len);
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
  while (datagram.size() >= sizeof(nlmsghdr)) {
    const auto header = take<nlmsghdr>(datagram);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size())
      return malformed_message(
          fmt::format("message length {} with {} bytes left", header.nlmsg_len, datagram.size()));
    auto message = decode_message(header, datagram.first(header.nlmsg_len).subspan(sizeof header));
    if (!message) return message.error();
    out.push_back(std::move(*message));
    datagram = rest_after(datagram, header.nlmsg_len);
  }
  if (!datagram.empty())
    return malformed_message(fmt::format("{} trailing bytes", datagram.size()));
  return out;
}

}  // namespace xenpv::nbd
