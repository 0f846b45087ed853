// Requests and replies with extended headers: bytes and rules.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "bytes.hpp"
#include "full_export.hpp"
#include "nbd/codec.hpp"
#include "nbd/codec_reply.hpp"

namespace xenpv::nbd::test {
namespace {

using wire::nbd_command;
using wire::nbd_error;

constexpr session_terms extended{true, true};
constexpr std::uint16_t payload_len = 32;
constexpr std::uint64_t tib = mib * mib;

verdict check(nbd_command type, std::uint64_t offset, std::uint64_t length, std::uint16_t flags,
              session_terms terms = extended) {
  return check_request({flags, type, 0, offset, length}, full_export(8 * tib), terms);
}

TEST(extended_request, has_a_length_of_64_bits) {
  const auto bytes = unhex("21e41c71 0021 0006 0123456789abcdef fedcba9876543210 89abcdef01234567");
  const auto request = decode_extended_request(as_bytes(bytes).first<extended_request_size>());
  ASSERT_TRUE(request);
  EXPECT_EQ(request->flags, 0x21);
  EXPECT_EQ(request->type, nbd_command::write_zeroes);
  EXPECT_EQ(request->cookie, 0x0123456789abcdefU);
  EXPECT_EQ(request->offset, 0xfedcba9876543210U);
  EXPECT_EQ(request->length, 0x89abcdef01234567U);
}

TEST(extended_request, has_another_magic_number_than_a_compact_one) {
  const auto bytes = unhex("25609513 0000 0000 0000000000000000 0000000000000000 0000000000000000");
  EXPECT_FALSE(decode_extended_request(as_bytes(bytes).first<extended_request_size>()));
  const auto other = unhex("21e41c71 0000 0000 0000000000000000 0000000000000000 00000000");
  EXPECT_FALSE(decode_request(as_bytes(other).first<request_size>()));
}

TEST(extended_request, may_trim_or_zero_more_than_4_gib) {
  for (const auto type : {nbd_command::trim, nbd_command::write_zeroes}) {
    EXPECT_EQ(check(type, tib, 7 * tib, 0).error, nbd_error::none);
    EXPECT_NE(check(type, tib, 7 * tib + 1, 0).error, nbd_error::none);
    EXPECT_NE(check(type, tib, ~std::uint64_t{0}, 0).error, nbd_error::none);
  }
}

TEST(extended_request, may_not_read_or_write_more_than_64_mib) {
  EXPECT_EQ(check(nbd_command::read, 0, 64 * mib, 0).error, nbd_error::none);
  EXPECT_EQ(check(nbd_command::read, 0, 64 * mib + 1, 0).error, nbd_error::eoverflow);
  EXPECT_EQ(check(nbd_command::read, 0, tib, 0).error, nbd_error::eoverflow);
  EXPECT_EQ(check(nbd_command::write, 0, 64 * mib, payload_len).error, nbd_error::none);
  const auto refused = check(nbd_command::write, 0, 64 * mib + 1, payload_len);
  EXPECT_EQ(refused.error, nbd_error::einval);
  EXPECT_EQ(refused.payload, 64 * mib + 1);
}

TEST(extended_request, with_an_excessive_payload_ends_the_connection) {
  EXPECT_FALSE(check(nbd_command::write, 0, 128 * mib, payload_len).disconnect);
  EXPECT_TRUE(check(nbd_command::write, 0, 128 * mib + 1, payload_len).disconnect);
  EXPECT_TRUE(check(nbd_command::trim, 0, tib, payload_len).disconnect);
}

TEST(extended_request, with_an_unexpected_payload_is_refused_after_the_payload) {
  for (const auto type : {nbd_command::read, nbd_command::trim, nbd_command::write_zeroes,
                          nbd_command::flush, nbd_command::block_status}) {
    const auto out = check(type, 0, 4096, payload_len);
    EXPECT_EQ(out.error, nbd_error::einval);
    EXPECT_EQ(out.payload, 4096U);
  }
}

TEST(extended_request, that_writes_without_the_flag_has_a_payload_nevertheless) {
  const auto out = check(nbd_command::write, 0, 4096, 0);
  EXPECT_EQ(out.error, nbd_error::none);
  EXPECT_EQ(out.payload, 4096U);
}

TEST(compact_request, may_not_have_the_payload_flag) {
  for (const auto terms : {session_terms{}, session_terms{.structured = true}}) {
    EXPECT_EQ(check(nbd_command::read, 0, 4096, payload_len, terms).error, nbd_error::einval);
    EXPECT_EQ(check(nbd_command::read, 0, 4096, payload_len, terms).payload, 0U);
    const auto out = check(nbd_command::write, 0, 4096, payload_len, terms);
    EXPECT_EQ(out.error, nbd_error::einval);
    EXPECT_EQ(out.payload, 4096U);
  }
}

constexpr chunk_subject subject{0x0123456789abcdef, 0x1000};

TEST(extended_chunk, contains_the_offset_of_the_request_and_of_the_data) {
  std::array<std::byte, extended_data_chunk_size> buffer{};
  encode_extended_data(buffer, subject, 0x1122334455667788, 4096);
  EXPECT_EQ(hex(as_text(buffer)),
            digits("6e8a278c 0001 0001 0123456789abcdef 0000000000001000 0000000000001008"
                   "1122334455667788"));
  encode_extended_data(buffer, subject, 0, 0x04000000, false);
  EXPECT_EQ(hex(as_text(buffer)),
            digits("6e8a278c 0000 0001 0123456789abcdef 0000000000001000 0000000004000008"
                   "0000000000000000"));
}

TEST(extended_chunk, reports_success_without_a_payload) {
  std::array<std::byte, extended_done_chunk_size> buffer{};
  encode_extended_done(buffer, subject);
  EXPECT_EQ(hex(as_text(buffer)),
            digits("6e8a278c 0001 0000 0123456789abcdef 0000000000001000 0000000000000000"));
}

TEST(extended_chunk, reports_an_error_with_as_much_text_as_fits) {
  std::vector<std::byte> buffer(extended_error_chunk_size + 3);
  const auto size = encode_extended_error(buffer, subject, nbd_error::eio, "hello");
  EXPECT_EQ(size, buffer.size());
  EXPECT_EQ(hex(as_text(buffer)),
            digits("6e8a278c 0001 8001 0123456789abcdef 0000000000001000 0000000000000009"
                   "00000005 0003 68656c"));
}

}  // namespace
}  // namespace xenpv::nbd::test
