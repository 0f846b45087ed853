#include "nbd/codec_reply.hpp"

#include <algorithm>
#include <cstring>

#include "base/utf8.hpp"

namespace xenpv::nbd {
namespace {

using wire::nbd_chunk;

/// Writes fixed-size parts to consecutive positions.
class writer {
 public:
  explicit writer(std::span<std::byte> buffer) noexcept : buffer_(buffer) {}

  template <class Part>
  void put(const Part& part) noexcept {
    std::memcpy(buffer_.data(), &part, sizeof part);
    buffer_ = buffer_.subspan(sizeof part);
  }

 private:
  std::span<std::byte> buffer_;
};

wire::nbd_chunk_header chunk_header(std::uint64_t cookie, nbd_chunk type, std::size_t length,
                                    bool is_last) noexcept {
  return {wire::be32(wire::nbd_structured_reply_magic),
          wire::be16(is_last ? wire::nbd_reply_flag_done : std::uint16_t{0}),
          wire::be16(static_cast<std::uint16_t>(type)), wire::be64(cookie),
          wire::be32(static_cast<std::uint32_t>(length))};
}

wire::nbd_extended_chunk_header extended_header(chunk_subject request, nbd_chunk type,
                                                std::size_t length, bool is_last) noexcept {
  return {wire::be32(wire::nbd_extended_reply_magic),
          wire::be16(is_last ? wire::nbd_reply_flag_done : std::uint16_t{0}),
          wire::be16(static_cast<std::uint16_t>(type)),
          wire::be64(request.cookie),
          wire::be64(request.offset),
          wire::be64(length)};
}

/// Encodes an error chunk with the header that `make_header(type, length)` returns.
template <class Function>
std::size_t encode_error_chunk(std::span<std::byte> buffer, wire::nbd_error error,
                               std::string_view text, Function make_header) noexcept {
  constexpr auto fixed = sizeof(make_header(nbd_chunk::error, 0)) + 4 + 2;
  const auto room = std::min(buffer.size() - fixed, wire::nbd_string_max);
  const auto size = copy_text(buffer.subspan(fixed, room), text);
  writer out(buffer);
  out.put(make_header(nbd_chunk::error, 6 + size));
  out.put(wire::be32(static_cast<std::uint32_t>(error)));
  out.put(wire::be16(static_cast<std::uint16_t>(size)));
  return fixed + size;
}

}  // namespace

void encode_simple_reply(std::span<std::byte, simple_reply_size> buffer, std::uint64_t cookie,
                         wire::nbd_error error) noexcept {
  writer(buffer).put(wire::nbd_simple_reply{wire::be32(wire::nbd_simple_reply_magic),
                                            wire::be32(static_cast<std::uint32_t>(error)),
                                            wire::be64(cookie)});
}

void encode_offset_data(std::span<std::byte, data_chunk_size> buffer, std::uint64_t cookie,
                        std::uint64_t offset, std::uint32_t length, bool is_last) noexcept {
  writer out(buffer);
  out.put(chunk_header(cookie, nbd_chunk::offset_data, std::size_t{length} + 8, is_last));
  out.put(wire::be64(offset));
}

void encode_done(std::span<std::byte, done_chunk_size> buffer, std::uint64_t cookie) noexcept {
  writer(buffer).put(chunk_header(cookie, nbd_chunk::none, 0, true));
}

std::size_t encode_error(std::span<std::byte> buffer, std::uint64_t cookie, wire::nbd_error error,
                         std::string_view text) noexcept {
  return encode_error_chunk(buffer, error, text, [cookie](nbd_chunk type, std::size_t length) {
    return chunk_header(cookie, type, length, true);
  });
}

void encode_extended_data(std::span<std::byte, extended_data_chunk_size> buffer,
                          chunk_subject request, std::uint64_t offset, std::uint32_t length,
                          bool is_last) noexcept {
  writer out(buffer);
  out.put(extended_header(request, nbd_chunk::offset_data, std::size_t{length} + 8, is_last));
  out.put(wire::be64(offset));
}

void encode_extended_done(std::span<std::byte, extended_done_chunk_size> buffer,
                          chunk_subject request) noexcept {
  writer(buffer).put(extended_header(request, nbd_chunk::none, 0, true));
}

std::size_t encode_extended_error(std::span<std::byte> buffer, chunk_subject request,
                                  wire::nbd_error error, std::string_view text) noexcept {
  return encode_error_chunk(buffer, error, text, [request](nbd_chunk type, std::size_t length) {
    return extended_header(request, type, length, true);
  });
}

std::size_t copy_text(std::span<std::byte> buffer, std::string_view text) noexcept {
  std::size_t size = 0;
  while (!text.empty()) {
    const auto length = text.front() == '\0' ? 0 : utf8_length(text);
    const auto taken = std::max(length, std::size_t{1});
    if (taken > buffer.size() - size) break;
    if (length == 0)
      buffer[size] = std::byte{'?'};
    else
      std::memcpy(buffer.data() + size, text.data(), length);
    size += taken;
    text.remove_prefix(taken);
  }
  return size;
}

bool is_protocol_string(std::string_view text) noexcept {
  if (text.size() > wire::nbd_string_max) return false;
  while (!text.empty()) {
    const auto length = text.front() == '\0' ? 0 : utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace xenpv::nbd
