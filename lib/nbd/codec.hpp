// Decodes requests of the transmission phase and checks them against an export. No I/O, no
// allocation.
#pragma once

#include <cstddef>
#include <cstdint>
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
[[nodiscard]] std::optional<request_header> decode_request(
    std::span<const std::byte, request_size> bytes) noexcept;
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

/// Applies the rules of sections "Command flags", "Request types", "Size constraints" and "Error
/// values" of the protocol document. An accepted request lies within the export. A request of
/// length 0 is accepted (nothing to read, write or trim); answer a structured READ of length 0 with
/// encode_done(). NBD_CMD_DISC always passes, regardless of its other fields.
[[nodiscard]] verdict check_request(const request_header& request, const export_info& exported,
                                    session_terms terms) noexcept;

/// Returns the closest error value that the protocol allows; `none` for success.
[[nodiscard]] wire::nbd_error to_nbd_error(std::error_code code) noexcept;
[[nodiscard]] wire::nbd_error errno_to_nbd_error(int value) noexcept;

}  // namespace xenpv::nbd
