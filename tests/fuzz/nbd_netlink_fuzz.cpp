// Whoever speaks the kernel's side of the NBD driver's netlink socket, whatever the bytes: what is
// decoded lies within the datagram, and what we encode is what we would decode.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "nbd/codec_driver.hpp"
#include "steps.hpp"

namespace {

using namespace xenpv::nbd;
using xenpv::fuzz::expect;
namespace wire = xenpv::wire;

bool lies_within(std::span<const std::byte> part, std::span<const std::byte> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_attributes(std::span<const std::byte> bytes) {
  const auto list = decode_attributes(bytes);
  if (list)
    for (const auto& each : *list) {
      expect(lies_within(each.payload, bytes));
      expect(each.text().size() <= each.payload.size());
      expect(each.text().find('\0') == std::string_view::npos);
    }
  const auto family = decode_family(bytes, wire::nbd_family_group);
  if (family) expect(list.has_value() && family->id >= wire::netlink_lowest_family);
  if (decode_index(bytes)) expect(list.has_value());
  const auto status = decode_status(bytes);
  if (status) expect(list.has_value() && status->size() <= bytes.size());
}

void check_datagram(std::span<const std::byte> bytes) {
  const auto messages = decode_messages(bytes);
  if (!messages) return expect(!messages.error().text.empty());
  for (const auto& each : *messages) {
    expect(lies_within(each.attributes, bytes));
    expect((each.what == netlink_message::kind::refused) == (each.error != 0));
    expect(each.error >= 0 && each.error <= 4095);
    expect(each.why.size() <= bytes.size());
    if (each.what == netlink_message::kind::data) check_attributes(each.attributes);
  }
}

/// A request of ours, as the kernel takes it apart.
void check_request(xenpv::fuzz::input in) {
  driver_request what;
  what.index = in.word();
  what.size = in.word();
  const unsigned sockets = in.byte() % 8;
  for (unsigned i = 0; i < sockets; ++i)
    what.sockets.push_back(in.byte());
  what.identifier = std::string(in.text(64));
  const auto request = encode_driver_request(0x1c, wire::nbd_driver_command::connect, 7, what);
  const auto messages = decode_messages(request.bytes());
  expect(messages && messages->size() == 1 && messages->front().sequence == 7);
  expect(decode_index(messages->front().attributes).value() == *what.index);
  const auto attributes = decode_attributes(messages->front().attributes).value();
  const auto* const list =
      find_attribute(attributes, static_cast<std::uint16_t>(wire::nbd_attribute::sockets));
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
