#include "nbd/codec_reply.hpp"

#include <algorithm>
#include <cstring>

#include "xenpv/base/utf8.hpp"

namespace xenpv::nbd {
namespace {

using wire::nbd_chunk;

/// Writes fixed parts one behind the other.
class writer {
 public:
  explicit writer(std::span<std::byte> into) noexcept : into_(into) {}

  template <class Part>
  void put(const Part& part) noexcept {
    std::memcpy(into_.data(), &part, sizeof part);
    into_ = into_.subspan(sizeof part);
  }

 private:
  std::span<std::byte> into_;
};

wire::nbd_chunk_header chunk_header(std::uint64_t cookie, nbd_chunk type, std::size_t length,
                                    bool is_last) noexcept {
  return {wire::be32(wire::nbd_structured_reply_magic),
          wire::be16(is_last ? wire::nbd_reply_flag_done : std::uint16_t{0}),
          wire::be16(static_cast<std::uint16_t>(type)), wire::be64(cookie),
          wire::be32(static_cast<std::uint32_t>(length))};
}

/// Header, error and text, leaving `behind` bytes of `into`. Returns the length of the text.
std::size_t put_error(std::span<std::byte> into, std::uint64_t cookie, nbd_chunk type,
                      wire::nbd_error error, std::string_view text, std::size_t behind) noexcept {
  const auto room = std::min(into.size() - error_chunk_size - behind, wire::nbd_string_max);
  const auto size = copy_text(into.subspan(error_chunk_size, room), text);
  writer out(into);
  out.put(chunk_header(cookie, type, 6 + size + behind, true));
  out.put(wire::be32(static_cast<std::uint32_t>(error)));
  out.put(wire::be16(static_cast<std::uint16_t>(size)));
  return size;
}

}  // namespace

void encode_simple_reply(std::span<std::byte, simple_reply_size> into, std::uint64_t cookie,
                         wire::nbd_error error) noexcept {
  writer(into).put(wire::nbd_simple_reply{wire::be32(wire::nbd_simple_reply_magic),
                                          wire::be32(static_cast<std::uint32_t>(error)),
                                          wire::be64(cookie)});
}

void encode_offset_data(std::span<std::byte, data_chunk_size> into, std::uint64_t cookie,
                        std::uint64_t offset, std::uint32_t length, bool is_last) noexcept {
  writer out(into);
  out.put(chunk_header(cookie, nbd_chunk::offset_data, std::size_t{length} + 8, is_last));
  out.put(wire::be64(offset));
}

void encode_done(std::span<std::byte, done_chunk_size> into, std::uint64_t cookie) noexcept {
  writer(into).put(chunk_header(cookie, nbd_chunk::none, 0, true));
}

std::size_t encode_error(std::span<std::byte> into, std::uint64_t cookie, wire::nbd_error error,
                         std::string_view text) noexcept {
  return error_chunk_size + put_error(into, cookie, nbd_chunk::error, error, text, 0);
}

std::size_t encode_error_offset(std::span<std::byte> into, std::uint64_t cookie,
                                wire::nbd_error error, std::uint64_t offset,
                                std::string_view text) noexcept {
  const auto size = put_error(into, cookie, nbd_chunk::error_offset, error, text, 8);
  writer(into.subspan(error_chunk_size + size)).put(wire::be64(offset));
  return error_offset_chunk_size + size;
}

std::size_t encode_block_status(std::span<std::byte> into, std::uint64_t cookie,
                                std::uint32_t context, std::span<const extent> extents,
                                bool is_last) noexcept {
  writer out(into);
  out.put(chunk_header(cookie, nbd_chunk::block_status, 4 + 8 * extents.size(), is_last));
  out.put(wire::be32(context));
  for (const auto& each : extents) {
    out.put(wire::be32(each.length));
    out.put(wire::be32(each.state));
  }
  return block_status_chunk_size(extents.size());
}

std::size_t copy_text(std::span<std::byte> into, std::string_view text) noexcept {
  std::size_t size = 0;
  while (!text.empty()) {
    const auto length = text.front() == '\0' ? 0 : utf8_length(text);
    const auto taken = std::max(length, std::size_t{1});
    if (taken > into.size() - size) break;
    if (length == 0)
      into[size] = std::byte{'?'};
    else
      std::memcpy(into.data() + size, text.data(), length);
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
