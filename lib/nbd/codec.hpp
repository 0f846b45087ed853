// Requests of the transmission phase: from bytes, and what may be done with them. No I/O, no
// allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

#include "nbd/codec_export.hpp"
#include "xenpv/wire/nbd.hpp"
#include "xenpv/wire/nbd_message.hpp"

namespace xenpv::nbd {

inline constexpr std::size_t request_size = sizeof(wire::nbd_request);
/// Largest READ or WRITE that is carried out.
inline constexpr std::uint32_t largest_request = 64U << 20U;
/// Largest payload of a refused WRITE that is read and thrown away.
inline constexpr std::uint32_t largest_skipped_payload = 128U << 20U;

struct request_header {
  std::uint16_t flags = 0;
  wire::nbd_command type{};  ///< any number a client may send
  std::uint64_t cookie = 0;  ///< opaque; several requests may bear the same
  std::uint64_t offset = 0;
  std::uint32_t length = 0;

  [[nodiscard]] bool has_flag(std::uint16_t flag) const noexcept { return (flags & flag) != 0; }
  friend bool operator==(const request_header&, const request_header&) = default;
};

/// nullopt: wrong magic. The stream is out of step, so the connection has to be dropped.
[[nodiscard]] std::optional<request_header> decode_request(
    std::span<const std::byte, request_size> bytes) noexcept;

/// What was agreed on during option haggling, as far as requests depend on it.
struct session_terms {
  bool structured = false;    ///< structured replies
  bool block_status = false;  ///< at least one metadata context was selected
};

struct verdict {
  wire::nbd_error error = wire::nbd_error::none;  ///< what to answer; none: carry it out
  /// Bytes behind the header that belong to this request, also when it is refused.
  std::uint32_t payload = 0;
  /// Drop the connection without an answer: nobody waits for such a payload to pass.
  bool disconnect = false;
  std::string_view reason;  ///< for people; a literal, empty when there is no error

  friend bool operator==(const verdict&, const verdict&) = default;
};

/// Sections "Command flags", "Request types", "Size constraints" and "Error values". What is let
/// through lies within the export. A length of 0 succeeds (nothing to read, write, trim); answer a
/// structured READ of it with encode_done(). NBD_CMD_DISC always passes, whatever its other fields.
[[nodiscard]] verdict check_request(const request_header& request, const export_info& on,
                                    session_terms terms) noexcept;

/// Which of the values allowed on the wire says it best; none for no error.
[[nodiscard]] wire::nbd_error to_nbd_error(std::error_code code) noexcept;
[[nodiscard]] wire::nbd_error errno_to_nbd_error(int value) noexcept;

}  // namespace xenpv::nbd
