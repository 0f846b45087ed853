// Encodes transmission-phase replies into the caller's buffers without allocating memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "wire/nbd_message.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd {

inline constexpr std::size_t simple_reply_size = sizeof(wire::nbd_simple_reply);
inline constexpr std::size_t done_chunk_size = sizeof(wire::nbd_chunk_header);
/// The size of the header and the offset, which the data follows.
inline constexpr std::size_t data_chunk_size = sizeof(wire::nbd_chunk_header) + 8;
/// The size without the text.
inline constexpr std::size_t error_chunk_size = sizeof(wire::nbd_chunk_header) + 4 + 2;
inline constexpr std::size_t largest_error_chunk = error_chunk_size + wire::nbd_string_max;

/// The same sizes with extended headers.
/// @{
inline constexpr std::size_t extended_done_chunk_size = sizeof(wire::nbd_extended_chunk_header);
inline constexpr std::size_t extended_data_chunk_size = extended_done_chunk_size + 8;
inline constexpr std::size_t extended_error_chunk_size = extended_done_chunk_size + 4 + 2;
/// @}

/// The request that a chunk with an extended header belongs to.
struct chunk_subject {
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;
};

void encode_simple_reply(std::span<std::byte, simple_reply_size> buffer, std::uint64_t cookie,
                         wire::nbd_error error = wire::nbd_error::none) noexcept;

/// Encodes NBD_REPLY_TYPE_OFFSET_DATA for `length` (not 0, at most 2^32 - 9) bytes that were read
/// at `offset`. Set `is_last` only if all data is complete: an error cannot be reported after the
/// last chunk.
void encode_offset_data(std::span<std::byte, data_chunk_size> buffer, std::uint64_t cookie,
                        std::uint64_t offset, std::uint32_t length, bool is_last = true) noexcept;

/// Encodes NBD_REPLY_TYPE_NONE as the last chunk of a reply. As the only chunk, it reports success.
void encode_done(std::span<std::byte, done_chunk_size> buffer, std::uint64_t cookie) noexcept;

/// Encodes NBD_REPLY_TYPE_ERROR as the last chunk. `buffer` must have at least error_chunk_size
/// bytes. The text is truncated at a character boundary to fit, and to at most 4096 bytes. Returns
/// the number of bytes written.
[[nodiscard]] std::size_t encode_error(std::span<std::byte> buffer, std::uint64_t cookie,
                                       wire::nbd_error error, std::string_view text = {}) noexcept;

/// The same chunks with extended headers, for the reply to `request`. encode_extended_error()
/// requires at least extended_error_chunk_size bytes.
/// @{
void encode_extended_data(std::span<std::byte, extended_data_chunk_size> buffer,
                          chunk_subject request, std::uint64_t offset, std::uint32_t length,
                          bool is_last = true) noexcept;
void encode_extended_done(std::span<std::byte, extended_done_chunk_size> buffer,
                          chunk_subject request) noexcept;
[[nodiscard]] std::size_t encode_extended_error(std::span<std::byte> buffer, chunk_subject request,
                                                wire::nbd_error error,
                                                std::string_view text = {}) noexcept;
/// @}

/// Copies as much of `text` as fits, truncated at a character boundary. Replaces NUL and bytes that
/// are not UTF-8 with '?': the protocol's strings must not contain them.
[[nodiscard]] std::size_t copy_text(std::span<std::byte> buffer, std::string_view text) noexcept;
/// Whether `text` is UTF-8 without NUL and at most 4096 bytes long (section "Conventions").
[[nodiscard]] bool is_protocol_string(std::string_view text) noexcept;

}  // namespace xenpv::nbd
