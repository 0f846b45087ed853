// Replies of the transmission phase, into the caller's memory: no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "xenpv/wire/nbd.hpp"
#include "xenpv/wire/nbd_message.hpp"

namespace xenpv::nbd {

inline constexpr std::size_t simple_reply_size = sizeof(wire::nbd_simple_reply);
inline constexpr std::size_t done_chunk_size = sizeof(wire::nbd_chunk_header);
/// Header and offset; the data follows.
inline constexpr std::size_t data_chunk_size = sizeof(wire::nbd_chunk_header) + 8;
/// Without text.
inline constexpr std::size_t error_chunk_size = sizeof(wire::nbd_chunk_header) + 4 + 2;
inline constexpr std::size_t error_offset_chunk_size = error_chunk_size + 8;
inline constexpr std::size_t largest_error_chunk = error_offset_chunk_size + wire::nbd_string_max;

void encode_simple_reply(std::span<std::byte, simple_reply_size> into, std::uint64_t cookie,
                         wire::nbd_error error = wire::nbd_error::none) noexcept;

/// NBD_REPLY_TYPE_OFFSET_DATA for `length` (not 0, at most 2^32 - 9) bytes that were read at
/// `offset`. `is_last` only if they are at hand: an error could no longer be reported.
void encode_offset_data(std::span<std::byte, data_chunk_size> into, std::uint64_t cookie,
                        std::uint64_t offset, std::uint32_t length, bool is_last = true) noexcept;

/// NBD_REPLY_TYPE_NONE: the last chunk, and alone a success.
void encode_done(std::span<std::byte, done_chunk_size> into, std::uint64_t cookie) noexcept;

/// NBD_REPLY_TYPE_ERROR as the last chunk. `into` holds at least error_chunk_size; the text is cut
/// to what fits, at most 4096 bytes, between two characters. Returns how many bytes were written.
[[nodiscard]] std::size_t encode_error(std::span<std::byte> into, std::uint64_t cookie,
                                       wire::nbd_error error, std::string_view text = {}) noexcept;

/// NBD_REPLY_TYPE_ERROR_OFFSET as the last chunk; `offset` lies within the request. `into` holds
/// at least error_offset_chunk_size.
[[nodiscard]] std::size_t encode_error_offset(std::span<std::byte> into, std::uint64_t cookie,
                                              wire::nbd_error error, std::uint64_t offset,
                                              std::string_view text = {}) noexcept;

struct extent {
  std::uint32_t length = 0;
  std::uint32_t state = 0;  ///< wire::nbd_state_*
};
inline constexpr std::size_t block_status_chunk_size(std::size_t extents) noexcept {
  return sizeof(wire::nbd_chunk_header) + 4 + 8 * extents;
}
/// NBD_REPLY_TYPE_BLOCK_STATUS. `into` holds block_status_chunk_size(extents.size()), `extents` is
/// not empty. Returns how many bytes were written.
std::size_t encode_block_status(std::span<std::byte> into, std::uint64_t cookie,
                                std::uint32_t context, std::span<const extent> extents,
                                bool is_last = true) noexcept;

/// Copies as much of `text` as fits, ending between two characters. What is not UTF-8, or NUL,
/// becomes '?': such bytes are not allowed in any string of the protocol.
[[nodiscard]] std::size_t copy_text(std::span<std::byte> into, std::string_view text) noexcept;
/// UTF-8 without NUL, at most 4096 bytes (section "Conventions").
[[nodiscard]] bool is_protocol_string(std::string_view text) noexcept;

}  // namespace xenpv::nbd
