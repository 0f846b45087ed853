// A hostile NBD client in the transmission phase: accepted requests lie within the export, and
// replies fit in their buffers.
//
// The first two bytes configure the export; the other bytes are requests. The whole input is also
// used as the text of an error reply.
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
  std::fprintf(stderr, "line %u: expectation violated\n", line);
  std::abort();
}

bool is_on_the_wire(nbd_error error) {
  constexpr std::array<std::uint32_t, 9> all = {0, 1, 5, 12, 22, 28, 75, 95, 108};
  return std::find(all.begin(), all.end(), static_cast<std::uint32_t>(error)) != all.end();
}

void check_accepted(const request_header& request, const export_info& info, session_terms terms) {
  const bool writes = request.type == nbd_command::write || request.type == nbd_command::trim ||
                      request.type == nbd_command::write_zeroes;
  expect(!(writes && info.read_only));
  constexpr unsigned known =
      nbd_cmd_flag_fua | nbd_cmd_flag_no_hole | nbd_cmd_flag_df | nbd_cmd_flag_fast_zero;
  expect((request.flags & ~known) == 0);
  expect(request.type != nbd_command::block_status);
  if (request.has_flag(nbd_cmd_flag_fua))
    expect((transmission_flags(info, terms.structured) & nbd_flag_send_fua) != 0);
  if (request.type == nbd_command::flush) return;
  expect(request.offset <= info.size && request.length <= info.size - request.offset);
  expect(request.offset % info.minimum_block == 0 && request.length % info.minimum_block == 0);
  const bool carries = request.type == nbd_command::read || request.type == nbd_command::write;
  expect(!carries || request.length <= largest_request);
}

void check(std::span<const std::byte, request_size> bytes, const export_info& info,
           session_terms terms) {
  std::array<std::byte, request_size> raw{};
  std::copy(bytes.begin(), bytes.end(), raw.begin());
  if (!decode_request(raw)) {
    // Only the magic can make decoding fail, so set the correct magic.
    const be32 magic(nbd_request_magic);
    std::memcpy(raw.data(), &magic, sizeof magic);
  }
  const auto request = decode_request(raw);
  expect(request.has_value());
  const auto answer = check_request(*request, info, terms);
  expect(is_on_the_wire(answer.error));
  if (request->type == nbd_command::disc) return expect(answer == verdict{});
  const bool is_write = request->type == nbd_command::write;
  expect(answer.disconnect == (is_write && request->length > largest_skipped_payload));
  if (answer.disconnect) return;
  expect(answer.payload == (is_write ? request->length : 0));
  expect(answer.reason.empty() == (answer.error == nbd_error::none));
  if (answer.error == nbd_error::none) check_accepted(*request, info, terms);
}

bool is_clean(std::span<const std::byte> text) {
  return is_protocol_string({reinterpret_cast<const char*>(text.data()), text.size()});
}

void check_texts(std::string_view text) {
  // Allocate exactly the bytes that the encoder may use, so that a sanitizer detects an overflow.
  for (const std::size_t room : {std::size_t{0}, text.size() / 2, text.size() + 8}) {
    std::vector<std::byte> buffer(error_chunk_size + room);
    const auto size = encode_error(buffer, 1, nbd_error::eio, text);
    expect(size <= buffer.size() && size <= largest_error_chunk);
    expect(is_clean(std::span(buffer).first(size).subspan(error_chunk_size)));
    be32 length;
    std::memcpy(&length, buffer.data() + 16, sizeof length);
    expect(length.value() == size - sizeof(nbd_chunk_header));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  export_info info;
  info.size = std::uint64_t{1} << (data[1] & 63U);
  info.minimum_block = info.size >= 512 && (data[1] & 64U) != 0 ? 512 : 1;
  const unsigned features = data[0];
  info.read_only = (features & 1U) != 0;
  info.can_flush = (features & 2U) != 0;
  info.can_fua = (features & 4U) != 0;
  info.can_trim = (features & 8U) != 0;
  info.can_write_zeroes = (features & 16U) != 0;
  info.can_fast_zero = (features & 32U) != 0;
  info.zeroes_are_fast = (data[1] & 128U) != 0;
  const session_terms terms{(features & 64U) != 0};
  auto bytes = std::as_bytes(std::span(data, size)).subspan(2);
  for (; bytes.size() >= request_size; bytes = bytes.subspan(request_size))
    check(bytes.first<request_size>(), info, terms);
  check_texts({reinterpret_cast<const char*>(data), size});
  return 0;
}
