// Generic netlink messages: requests to bytes, answers from bytes. No I/O; knows no family
// (nbd/codec_driver.hpp knows that of the NBD driver). Host byte order, as netlink's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/wire/netlink.hpp"

namespace xenpv::nbd {

/// A request that asks for an acknowledgement, attribute by attribute.
class netlink_request {
 public:
  netlink_request(std::uint16_t family, std::uint8_t command, std::uint8_t version,
                  std::uint32_t sequence);

  void put_u32(std::uint16_t type, std::uint32_t value);
  void put_u64(std::uint16_t type, std::uint64_t value);
  /// With the NUL that the kernel's strings end with; a NUL within ends it.
  void put_text(std::uint16_t type, std::string_view text);
  /// What `fill` puts lies within.
  template <class Function>
  void nest(std::uint16_t type, Function fill) {
    const auto at = open(type | wire::netlink_attribute_nested);
    fill();
    close(at);
  }

  /// The whole message so far.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint32_t sequence() const noexcept { return sequence_; }

 private:
  [[nodiscard]] std::size_t open(unsigned type);
  void close(std::size_t at);
  void append(std::span<const std::byte> more);
  void put(std::uint16_t type, std::span<const std::byte> payload);

  std::vector<std::byte> bytes_;
  std::uint32_t sequence_;
};

struct netlink_attribute {
  std::uint16_t type = 0;  ///< without the flags
  std::span<const std::byte> payload;

  /// nullopt: not of that size.
  template <class Number>
  [[nodiscard]] std::optional<Number> number() const noexcept {
    if (payload.size() != sizeof(Number)) return std::nullopt;
    Number out;
    std::memcpy(&out, payload.data(), sizeof out);
    return out;
  }
  /// Up to the first NUL.
  [[nodiscard]] std::string_view text() const noexcept;
};

/// What lies in a message or in a nested attribute, in order. Up to three bytes at the end that can
/// be no attribute are padding. The error says what is wrong. Refers to `bytes`.
[[nodiscard]] result<std::vector<netlink_attribute>> decode_attributes(
    std::span<const std::byte> bytes);
/// The first of that type; nullptr: there is none.
[[nodiscard]] const netlink_attribute* find_attribute(std::span<const netlink_attribute> attributes,
                                                      std::uint16_t type) noexcept;

struct netlink_message {
  enum class kind : std::uint8_t {
    data,          ///< of a family: `command` and `attributes`
    acknowledged,  ///< the request was carried out
    refused,       ///< it was not: `error` and perhaps `why`
    other,         ///< netlink's own: nothing, the end of a list, an overrun
  };
  kind what = kind::other;
  std::uint16_t type = 0;
  std::uint32_t sequence = 0;  ///< of the request it answers; 0 for a notification
  std::uint8_t command = 0;
  std::span<const std::byte> attributes;
  int error = 0;    ///< an errno, positive
  std::string why;  ///< the kernel's words (NETLINK_EXT_ACK)
};

/// The messages of one datagram, in order; they refer to `datagram`.
[[nodiscard]] result<std::vector<netlink_message>> decode_messages(
    std::span<const std::byte> datagram);

}  // namespace xenpv::nbd
