// Decodes requests of the transmission phase and checks them against an export. No I/O, no
// allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

#include "nbd/codec_export.hpp"
#include "wire/nbd_message.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd {

inline constexpr std::size_t request_size = sizeof(wire::nbd_request);
inline constexpr std::size_t extended_request_size = sizeof(wire::nbd_extended_request);
/// Largest accepted READ or WRITE, in bytes.
inline constexpr std::uint32_t largest_request = 64U << 20U;
/// Largest payload, in bytes, that is read and discarded when a WRITE is refused.
inline constexpr std::uint32_t largest_skipped_payload = 128U << 20U;

struct request_header {
  std::uint16_t flags = 0;
  wire::nbd_command type{};  ///< may have any value, even an undefined one
  std::uint64_t cookie = 0;  ///< opaque; not necessarily unique
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  ///< below 2^32 without extended headers

  [[nodiscard]] bool has_flag(std::uint16_t flag) const noexcept { return (flags & flag) != 0; }
  friend bool operator==(const request_header&, const request_header&) = default;
};

/// Returns nullopt for an invalid magic number. The stream is then out of sync: disconnect.
[[nodiscard]] inline std::optional<request_header> decode_request(
    std::span<const std::byte, request_size> bytes) noexcept {
  wire::nbd_request raw;
  std::memcpy(&raw, bytes.data(), sizeof raw);
  if (raw.magic.value() != wire::nbd_request_magic) return std::nullopt;
  return request_header{raw.flags.value(), static_cast<wire::nbd_command>(raw.type.value()),
                        raw.cookie.value(), raw.offset.value(), raw.length.value()};
}
/// The same for clients that negotiated extended headers.
[[nodiscard]] std::optional<request_header> decode_extended_request(
    std::span<const std::byte, extended_request_size> bytes) noexcept;

/// The negotiated options that affect requests.
struct session_terms {
  bool structured = false;  ///< replies in chunks: structured replies or extended headers
  bool extended = false;    ///< extended headers, which imply `structured`
};

struct verdict {
  wire::nbd_error error = wire::nbd_error::none;  ///< to reply; none: process the request
  /// Payload bytes that follow the header, even if the request is refused.
  std::uint32_t payload = 0;
  /// Drop the connection without a reply: the payload is too large to be discarded.
  bool disconnect = false;
  std::string_view reason;  ///< human-readable string literal; empty if there is no error

  friend bool operator==(const verdict&, const verdict&) = default;
};

/// Whether a request is a READ or WRITE that violates no rule. False for some other requests that
/// check_rules() accepts.
[[nodiscard]] inline bool is_plain_request(const request_header& request,
                                           const export_info& exported) noexcept {
  const bool is_write = request.type == wire::nbd_command::write;
  if (request.type != wire::nbd_command::read && (!is_write || exported.read_only)) return false;
  if (request.flags != 0 || request.length > largest_request) return false;
  if (request.offset > exported.size || request.length > exported.size - request.offset)
    return false;
  return ((request.offset | request.length) & (exported.minimum_block - 1)) == 0;
}
/// Implements check_request() by applying the rules one by one.
[[nodiscard]] verdict check_rules(const request_header& request, const export_info& exported,
                                  session_terms terms) noexcept;

/// Applies the rules of sections "Command flags", "Request types", "Size constraints" and "Error
/// values" of the protocol document. An accepted request lies within the export. A request of
/// length 0 is accepted (nothing to read, write or trim); answer a structured READ of length 0 with
/// encode_done(). NBD_CMD_DISC always passes, regardless of its other fields.
[[nodiscard]] inline verdict check_request(const request_header& request,
                                           const export_info& exported,
                                           session_terms terms) noexcept {
  if (!is_plain_request(request, exported)) return check_rules(request, exported, terms);
  verdict accepted;
  if (request.type == wire::nbd_command::write)
    accepted.payload = static_cast<std::uint32_t>(request.length);
  return accepted;
}

/// Returns the closest error value that the protocol allows; `none` for success.
[[nodiscard]] wire::nbd_error to_nbd_error(std::error_code code) noexcept;
[[nodiscard]] wire::nbd_error errno_to_nbd_error(int value) noexcept;

}  // namespace xenpv::nbd
