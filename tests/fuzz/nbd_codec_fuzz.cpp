// A hostile NBD client in the transmission phase: whatever its requests say, what is let through
// lies within the export, and replies stay within their buffers.
//
// The first byte is the export's features, then come requests, then a text for an error.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "nbd/codec.hpp"
#include "nbd/codec_reply.hpp"

namespace {

using namespace xenpv::nbd;
using namespace xenpv::wire;

void expect(bool promise, unsigned line = __builtin_LINE()) {
  if (promise) return;
  std::fprintf(stderr, "line %u: a promise is broken\n", line);
  std::abort();
}

bool is_on_the_wire(nbd_error error) {
  constexpr std::array<std::uint32_t, 9> all = {0, 1, 5, 12, 22, 28, 75, 95, 108};
  return std::find(all.begin(), all.end(), static_cast<std::uint32_t>(error)) != all.end();
}

void check_let_through(const request_header& request, const export_info& on, session_terms terms) {
  const bool writes = request.type == nbd_command::write || request.type == nbd_command::trim ||
                      request.type == nbd_command::write_zeroes;
  expect(!(writes && on.read_only));
  expect((request.flags & ~31U) == 0);
  if (request.has_flag(nbd_cmd_flag_fua))
    expect((transmission_flags(on, terms.structured) & nbd_flag_send_fua) != 0);
  if (request.type == nbd_command::flush) return;
  expect(request.offset <= on.size && request.length <= on.size - request.offset);
  expect(request.offset % on.minimum_block == 0 && request.length % on.minimum_block == 0);
  const bool carries = request.type == nbd_command::read || request.type == nbd_command::write;
  expect(!carries || request.length <= largest_request);
  if (request.type == nbd_command::block_status) expect(terms.block_status && request.length != 0);
}

void check(std::span<const std::byte, request_size> bytes, const export_info& on,
           session_terms terms) {
  std::array<std::byte, request_size> raw{};
  std::copy(bytes.begin(), bytes.end(), raw.begin());
  if (!decode_request(raw)) {
    // Its magic apart, every request is one.
    const be32 magic(nbd_request_magic);
    std::memcpy(raw.data(), &magic, sizeof magic);
  }
  const auto request = decode_request(raw);
  expect(request.has_value());
  const auto answer = check_request(*request, on, terms);
  expect(is_on_the_wire(answer.error));
  if (request->type == nbd_command::disc) return expect(answer == verdict{});
  const bool is_write = request->type == nbd_command::write;
  expect(answer.disconnect == (is_write && request->length > largest_skipped_payload));
  if (answer.disconnect) return;
  expect(answer.payload == (is_write ? request->length : 0));
  expect(answer.reason.empty() == (answer.error == nbd_error::none));
  if (answer.error == nbd_error::none) check_let_through(*request, on, terms);
}

bool is_clean(std::span<const std::byte> text) {
  return is_protocol_string({reinterpret_cast<const char*>(text.data()), text.size()});
}

void check_texts(std::string_view text) {
  // Just as large as the reply may become, so that a sanitizer sees a byte too many.
  for (const std::size_t room : {std::size_t{0}, text.size() / 2, text.size() + 8}) {
    std::vector<std::byte> into(error_offset_chunk_size + room);
    const auto size = encode_error_offset(into, 1, nbd_error::eio, 2, text);
    expect(size <= into.size() && size <= largest_error_chunk);
    expect(is_clean(std::span(into).first(size - 8).subspan(error_chunk_size)));
    into.resize(error_chunk_size + room);
    const auto plain = encode_error(into, 1, nbd_error::eio, text);
    expect(plain <= into.size());
    be32 length;
    std::memcpy(&length, into.data() + 16, sizeof length);
    expect(length.value() == plain - sizeof(nbd_chunk_header));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  export_info on;
  on.size = std::uint64_t{1} << (data[1] & 63U);
  on.minimum_block = on.size >= 512 && (data[1] & 64U) != 0 ? 512 : 1;
  const unsigned features = data[0];
  on.read_only = (features & 1U) != 0;
  on.can_flush = (features & 2U) != 0;
  on.can_fua = (features & 4U) != 0;
  on.can_trim = on.can_cache = (features & 8U) != 0;
  on.can_write_zeroes = (features & 16U) != 0;
  on.can_fast_zero = (features & 32U) != 0;
  on.zeroes_are_fast = (data[1] & 128U) != 0;
  const session_terms terms{(features & 64U) != 0, (features & 128U) != 0};
  auto bytes = std::as_bytes(std::span(data, size)).subspan(2);
  for (; bytes.size() >= request_size; bytes = bytes.subspan(request_size))
    check(bytes.first<request_size>(), on, terms);
  check_texts({reinterpret_cast<const char*>(data), size});
  return 0;
}
