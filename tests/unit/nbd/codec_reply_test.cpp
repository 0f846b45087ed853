// Replies, byte by byte.
#include "nbd/codec_reply.hpp"

#include <gmock/gmock.h>

#include <array>
#include <vector>

#include "bytes.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using wire::nbd_error;

/// Returns `before` filler bytes followed by `tail`.
std::string padded(std::size_t before, std::string_view tail) {
  std::string out(before, 'x');
  return out.append(tail);
}

constexpr std::uint64_t cookie = 0x0123456789abcdef;

TEST(encode_simple_reply, is_a_header_of_16_bytes) {
  std::array<std::byte, simple_reply_size> buffer{};
  encode_simple_reply(buffer, cookie);
  EXPECT_EQ(hex(as_text(buffer)), digits("67446698 00000000 0123456789abcdef"));
  encode_simple_reply(buffer, cookie, nbd_error::eshutdown);
  EXPECT_EQ(hex(as_text(buffer)), digits("67446698 0000006c 0123456789abcdef"));
}

TEST(encode_offset_data, includes_the_offset_in_the_length) {
  std::array<std::byte, data_chunk_size> buffer{};
  encode_offset_data(buffer, cookie, 0x1122334455667788, 4096);
  EXPECT_EQ(hex(as_text(buffer)),
            digits("668e33ef 0001 0001 0123456789abcdef 00001008 1122334455667788"));
  encode_offset_data(buffer, cookie, 0, 0x04000000, false);
  EXPECT_EQ(hex(as_text(buffer)),
            digits("668e33ef 0000 0001 0123456789abcdef 04000008 0000000000000000"));
}

TEST(encode_done, is_an_empty_last_chunk) {
  std::array<std::byte, done_chunk_size> buffer{};
  encode_done(buffer, cookie);
  EXPECT_EQ(hex(as_text(buffer)), digits("668e33ef 0001 0000 0123456789abcdef 00000000"));
}

std::string error(std::size_t room, std::string_view text) {
  std::vector<std::byte> buffer(room);
  const auto size = encode_error(buffer, cookie, nbd_error::einval, text);
  return as_text(std::span(buffer).first(size));
}

TEST(encode_error, has_a_text_or_none) {
  EXPECT_EQ(hex(error(error_chunk_size, "")),
            digits("668e33ef 0001 8001 0123456789abcdef 00000006 00000016 0000"));
  EXPECT_EQ(hex(error(64, "past EOF")),
            digits("668e33ef 0001 8001 0123456789abcdef 0000000e 00000016 0008 7061737420454f46"));
}

TEST(encode_error, truncates_the_text_to_the_buffer) {
  EXPECT_EQ(error(error_chunk_size + 3, "past EOF").substr(error_chunk_size), "pas");
  EXPECT_EQ(error(error_chunk_size, "past EOF").size(), error_chunk_size);
}

TEST(encode_error, truncates_the_text_at_4096_bytes_between_two_characters) {
  const std::string ascii(5000, 'x');
  EXPECT_EQ(error(8192, ascii).size(), error_chunk_size + 4096);
  EXPECT_EQ(error(largest_error_chunk, ascii).size(), largest_error_chunk);
  // The three-byte character would end at byte 4097.
  const auto split = padded(4094, "\xe2\x82\xac");
  EXPECT_EQ(error(8192, split).size(), error_chunk_size + 4094);
  EXPECT_EQ(hex(error(8192, split).substr(16, 4)), "00001004");
  const auto whole = padded(4093,
                            "\xe2\x82\xac"
                            "y");
  EXPECT_EQ(error(8192, whole).size(), error_chunk_size + 4096);
}

std::string copied(std::string_view text, std::size_t room = 64) {
  std::vector<std::byte> buffer(room);
  const auto size = copy_text(buffer, text);
  return as_text(std::span(buffer).first(size));
}

TEST(copy_text, replaces_bytes_that_are_not_allowed) {
  EXPECT_EQ(copied("plain"), "plain");
  EXPECT_EQ(copied("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(copied(std::string_view("a\0b", 3)), "a?b");
  EXPECT_EQ(copied("a\xff\xc3"), "a??");
  EXPECT_EQ(copied("\xed\xa0\x80"), "???");
  EXPECT_EQ(copied("a\xc3\xbc", 2), "a");
  EXPECT_EQ(copied("abc", 0), "");
}

TEST(is_protocol_string, is_utf8_without_nul_of_4096_bytes_at_most) {
  EXPECT_TRUE(is_protocol_string(""));
  EXPECT_TRUE(is_protocol_string("gr\xc3\xbc\xc3\x9f"));
  EXPECT_TRUE(is_protocol_string(std::string(4096, 'x')));
  EXPECT_FALSE(is_protocol_string(std::string(4097, 'x')));
  EXPECT_FALSE(is_protocol_string(std::string_view("a\0b", 3)));
  EXPECT_FALSE(is_protocol_string("\xc3"));
}

}  // namespace
}  // namespace xenpv::nbd
