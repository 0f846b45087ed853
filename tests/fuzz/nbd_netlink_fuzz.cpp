// Untrusted datagrams from the kernel NBD driver's netlink socket: decoded parts lie within the
// datagram, and requests that xenpv encodes can be decoded.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "nbd/codec_driver.hpp"
#include "steps.hpp"

namespace {

using namespace xenpv::nbd;
using xenpv::fuzz::expect;

bool lies_within(std::span<const std::byte> part, std::span<const std::byte> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_attributes(std::span<const std::byte> bytes) {
  const auto list = decode_attributes(bytes);
  if (list)
    for (const auto& attribute : *list) {
      expect(lies_within(attribute.payload, bytes));
      expect(attribute.text().size() <= attribute.payload.size());
      expect(attribute.text().find('\0') == std::string_view::npos);
    }
  const auto family = decode_family(bytes, NBD_GENL_MCAST_GROUP_NAME);
  if (family) expect(list.has_value() && family->id >= NLMSG_MIN_TYPE);
  if (decode_index(bytes)) expect(list.has_value());
  const auto status = decode_status(bytes);
  if (status) expect(list.has_value() && status->size() <= bytes.size());
}

void check_datagram(std::span<const std::byte> bytes) {
  const auto messages = decode_messages(bytes);
  if (!messages) return expect(!messages.error().text.empty());
  for (const auto& message : *messages) {
    expect(lies_within(message.attributes, bytes));
    expect((message.what == netlink_message::kind::refused) == (message.error != 0));
    expect(message.error >= 0 && message.error <= 4095);
    expect(message.why.size() <= bytes.size());
    if (message.what == netlink_message::kind::data) check_attributes(message.attributes);
  }
}

/// Encodes a request and decodes it as the kernel would.
void check_request(xenpv::fuzz::input in) {
  driver_request request;
  request.index = in.word();
  request.size = in.word();
  const unsigned sockets = in.byte() % 8;
  for (unsigned i = 0; i < sockets; ++i)
    request.sockets.push_back(in.byte());
  request.identifier = std::string(in.text(64));
  const auto encoded = encode_driver_request(0x1c, driver_command::connect, 7, request);
  const auto messages = decode_messages(encoded.bytes());
  expect(messages && messages->size() == 1 && messages->front().sequence == 7);
  expect(decode_index(messages->front().attributes).value() == *request.index);
  const auto attributes = decode_attributes(messages->front().attributes).value();
  const auto* const list = find_attribute(attributes, NBD_ATTR_SOCKETS);
  expect((list != nullptr) == (sockets > 0));
  if (list != nullptr) expect(decode_attributes(list->payload).value().size() == sockets);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  check_datagram(bytes);
  check_attributes(bytes);
  check_request(xenpv::fuzz::input({data, size}));
  return 0;
}
