// Encodes generic netlink requests and decodes replies. No I/O; independent of the family
// (nbd/codec_driver.hpp implements the NBD driver's family). Numbers are in host byte order, as
// netlink requires.
#pragma once

#include <linux/genetlink.h>
#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::nbd {

/// A request, built attribute by attribute. Asks the kernel for an acknowledgement.
class netlink_request {
 public:
  netlink_request(std::uint16_t family, std::uint8_t command, std::uint8_t version,
                  std::uint32_t sequence);

  void put_u32(std::uint16_t type, std::uint32_t value);
  void put_u64(std::uint16_t type, std::uint64_t value);
  /// Adds `text` with the terminating NUL that the kernel requires. Truncates it at the first NUL.
  void put_text(std::uint16_t type, std::string_view text);
  /// Adds a nested attribute; `fill` adds its contents.
  template <class Function>
  void nest(std::uint16_t type, Function fill) {
    const auto start = open(static_cast<std::uint16_t>(type | NLA_F_NESTED));
    fill();
    close(start);
  }

  /// The message encoded so far.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint32_t sequence() const noexcept { return sequence_; }

 private:
  [[nodiscard]] std::size_t open(std::uint16_t type);
  void close(std::size_t start);
  void append(std::span<const std::byte> more);
  void put(std::uint16_t type, std::span<const std::byte> payload);

  std::vector<std::byte> bytes_;
  std::uint32_t sequence_;
};

struct netlink_attribute {
  std::uint16_t type = 0;  ///< without the flags
  std::span<const std::byte> payload;

  /// Returns nullopt if the payload size does not match.
  template <class Number>
  [[nodiscard]] std::optional<Number> number() const noexcept {
    if (payload.size() != sizeof(Number)) return std::nullopt;
    Number out;
    std::memcpy(&out, payload.data(), sizeof out);
    return out;
  }
  /// The text up to the first NUL.
  [[nodiscard]] std::string_view text() const noexcept;
};

/// Returns the attributes of a message or of a nested attribute, in order. They refer to `bytes`.
/// Up to three trailing bytes are padding. The error names the problem.
[[nodiscard]] result<std::vector<netlink_attribute>> decode_attributes(
    std::span<const std::byte> bytes);
/// Returns the first attribute of the given type; nullptr: none.
[[nodiscard]] const netlink_attribute* find_attribute(std::span<const netlink_attribute> attributes,
                                                      std::uint16_t type) noexcept;

struct netlink_message {
  enum class kind : std::uint8_t {
    data,          ///< a family's message: see `command` and `attributes`
    acknowledged,  ///< the request succeeded
    refused,       ///< the request failed: see `error` and `why`
    other,         ///< from netlink itself: no-op, end of a list, overrun
  };
  kind what = kind::other;
  std::uint16_t type = 0;
  std::uint32_t sequence = 0;  ///< of the request that this message answers; 0 for a notification
  std::uint8_t command = 0;
  std::span<const std::byte> attributes;
  int error = 0;    ///< a positive errno value
  std::string why;  ///< the kernel's extended ACK message (NETLINK_EXT_ACK); may be empty
};

/// Returns the messages of one datagram, in order. They refer to `datagram`.
[[nodiscard]] result<std::vector<netlink_message>> decode_messages(
    std::span<const std::byte> datagram);

}  // namespace xenpv::nbd
