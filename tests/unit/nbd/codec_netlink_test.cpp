// Generic netlink messages, byte by byte (little-endian).
#include "nbd/codec_netlink.hpp"

#include <gmock/gmock.h>

#include <bit>

#include "bytes.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using kind = netlink_message::kind;

static_assert(std::endian::native == std::endian::little);

/// Returns the bytes of a request as hexadecimal digits.
std::string bytes_of(const netlink_request& request) {
  return hex(as_text(request.bytes()));
}

TEST(netlink_request, consists_of_two_headers) {
  const netlink_request request(0x1c, 5, 1, 0x11223344);
  EXPECT_EQ(bytes_of(request), digits("14000000 1c00 0500 44332211 00000000  05 01 0000"));
  EXPECT_EQ(request.sequence(), 0x11223344U);
}

TEST(netlink_request, pads_attributes_but_counts_their_bytes_only) {
  netlink_request request(0x10, 3, 2, 1);
  request.put_text(2, "nbd_");
  request.put_u32(1, 0xa1b2c3d4);
  request.put_u64(9, 0x0102030405060708);
  EXPECT_EQ(bytes_of(request), digits("34000000 1000 0500 01000000 00000000  03 02 0000"
                                      "0900 0200 6e62645f 00 000000"
                                      "0800 0100 d4c3b2a1"
                                      "0c00 0900 0807060504030201"));
}

TEST(netlink_request, ends_a_text_at_its_first_nul) {
  netlink_request request(0x10, 3, 2, 1);
  request.put_text(2, std::string_view("ab\0cd", 5));
  EXPECT_EQ(bytes_of(request),
            digits("1c000000 1000 0500 01000000 00000000  03 02 0000  0700 0200 616200 00"));
}

TEST(netlink_request, nests_attributes_to_any_depth) {
  netlink_request request(0x1c, 1, 1, 2);
  request.nest(7, [&] {
    request.nest(1, [&] { request.put_u32(1, 5); });
    request.nest(1, [&] { request.put_u32(1, 6); });
  });
  request.put_u32(1, 9);
  EXPECT_EQ(bytes_of(request), digits("38000000 1c00 0500 02000000 00000000  01 01 0000"
                                      "1c00 0780"
                                      "  0c00 0180  0800 0100 05000000"
                                      "  0c00 0180  0800 0100 06000000"
                                      "0800 0100 09000000"));
}

// ---- attributes

std::vector<netlink_attribute> attributes(const std::string& bytes) {
  auto out = decode_attributes(as_bytes(bytes));
  EXPECT_TRUE(out.has_value()) << out.error().text;
  return out.has_value() ? *out : std::vector<netlink_attribute>();
}

TEST(decode_attributes, finds_attributes_in_order_without_their_flags) {
  const auto bytes = unhex("0800 0100 d4c3b2a1  0700 0280 616263 00  0500 0340 7f");
  const auto all = attributes(bytes);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].type, 1);
  EXPECT_EQ(all[0].number<std::uint32_t>(), 0xa1b2c3d4U);
  EXPECT_EQ(all[0].number<std::uint64_t>(), std::nullopt);
  EXPECT_EQ(all[1].type, 2);
  EXPECT_EQ(all[1].text(), "abc") << "the NUL at the end of a string is optional";
  EXPECT_EQ(all[2].type, 3);
  EXPECT_EQ(all[2].number<std::uint8_t>(), 0x7f);
  EXPECT_EQ(find_attribute(all, 2), &all[1]);
  EXPECT_EQ(find_attribute(all, 4), nullptr);
}

TEST(decode_attributes, accepts_empty_attributes_and_padding) {
  EXPECT_TRUE(attributes("").empty());
  EXPECT_TRUE(attributes(unhex("000000")).empty());
  const auto bytes = unhex("0400 0500");
  const auto one = attributes(bytes);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].text(), "");
}

std::string fault_of_attributes(std::string_view grouped) {
  const auto bytes = unhex(grouped);
  const auto out = decode_attributes(as_bytes(bytes));
  return out.has_value() ? "no fault" : out.error().text;
}

TEST(decode_attributes, refuses_impossible_lengths) {
  EXPECT_EQ(fault_of_attributes("0300 0100 00000000"),
            "read a netlink message: protocol violation (attribute length 3 with 8 bytes left)");
  EXPECT_EQ(fault_of_attributes("0000 0100"),
            "read a netlink message: protocol violation (attribute length 0 with 4 bytes left)");
  EXPECT_EQ(fault_of_attributes("0800 0100 00000000 0900 0200 00000000"),
            "read a netlink message: protocol violation (attribute length 9 with 8 bytes left)");
}

// ---- messages

std::vector<netlink_message> messages(const std::string& bytes) {
  auto out = decode_messages(as_bytes(bytes));
  EXPECT_TRUE(out.has_value()) << out.error().text;
  return out.has_value() ? *out : std::vector<netlink_message>();
}

TEST(decode_messages, splits_a_datagram_into_messages) {
  const auto bytes = unhex(
      "1c000000 1c00 0000 07000000 99000000  01 01 0000  0800 0100 03000000"
      "24000000 0200 0001 07000000 99000000  00000000  14000000 1c00 0500 07000000 00000000");
  const auto all = messages(bytes);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].what, kind::data);
  EXPECT_EQ(all[0].type, 0x1c);
  EXPECT_EQ(all[0].sequence, 7u);
  EXPECT_EQ(all[0].command, 1);
  EXPECT_EQ(hex(as_text(all[0].attributes)), digits("0800 0100 03000000"));
  EXPECT_EQ(all[1].what, kind::acknowledged);
  EXPECT_EQ(all[1].sequence, 7u);
  EXPECT_EQ(all[1].error, 0);
}

TEST(decode_messages, returns_a_refusal_with_its_errno) {
  // EBUSY, followed by the whole request.
  const auto bytes = unhex(
      "2c000000 0200 0000 08000000 99000000  f0ffffff"
      "1c000000 1c00 0500 08000000 00000000  01 01 0000  0400 0700 ");
  const auto all = messages(bytes);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].what, kind::refused);
  EXPECT_EQ(all[0].error, 16);
  EXPECT_EQ(all[0].why, "");
}

TEST(decode_messages, returns_the_kernels_text_after_the_whole_request) {
  // EINVAL, the request (26 bytes and 2 bytes of padding), an offset (u32), and the text.
  const auto bytes = unhex(
      "40000000 0200 0002 08000000 99000000  eaffffff"
      "1a000000 1c00 0500 08000000 00000000  01 01 0000  0600 0700 aabb 0000"
      "0800 0200 10000000"
      "0800 0100 6e6f2100");
  const auto all = messages(bytes);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].error, 22);
  EXPECT_EQ(all[0].why, "no!");
}

TEST(decode_messages, returns_the_kernels_text_after_a_capped_request) {
  const auto bytes = unhex(
      "2c000000 0200 0003 08000000 99000000  ffffffff"
      "ff000000 1c00 0500 08000000 00000000"
      "0700 0100 6e6f21 00");
  const auto all = messages(bytes);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].error, 1);
  EXPECT_EQ(all[0].why, "no!");
}

TEST(decode_messages, keeps_an_error_whose_extended_ack_is_malformed) {
  for (const auto* tail : {"", "ff000000", "ffffffff 1c00 0500 08000000 00000000",
                           "14000000 1c00 0500 08000000 00000000 01010000 0200 0100"}) {
    const auto body = unhex(std::string("ffffffff") + tail);
    auto bytes = unhex("00000000 0200 0002 08000000 99000000") + body;
    bytes[0] = static_cast<char>(bytes.size());
    const auto all = messages(bytes);
    ASSERT_EQ(all.size(), 1u) << tail;
    EXPECT_EQ(all[0].error, 1) << tail;
    EXPECT_EQ(all[0].why, "") << tail;
  }
}

TEST(decode_messages, returns_netlinks_own_messages_as_other) {
  for (const auto* header : {"10000000 0100", "10000000 0300", "10000000 0400"}) {
    const auto all = messages(unhex(header) + unhex("0000 00000000 00000000"));
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].what, kind::other);
  }
  EXPECT_TRUE(messages("").empty());
}

std::string fault_of_messages(std::string_view grouped) {
  const auto bytes = unhex(grouped);
  const auto out = decode_messages(as_bytes(bytes));
  return out.has_value() ? "no fault" : out.error().text;
}

TEST(decode_messages, refuses_malformed_messages) {
  const std::string start = "read a netlink message: protocol violation ";
  EXPECT_EQ(fault_of_messages("0f000000 1c00 0000 00000000 00000000"),
            start + "(message length 15 with 16 bytes left)");
  EXPECT_EQ(fault_of_messages("ffffffff 1c00 0000 00000000 00000000"),
            start + "(message length 4294967295 with 16 bytes left)");
  EXPECT_EQ(fault_of_messages("10000000 1c00 0000 00000000 00000000"),
            start + "(truncated family header)");
  EXPECT_EQ(fault_of_messages("10000000 0200 0000 00000000 00000000"), start + "(truncated error)");
  EXPECT_EQ(fault_of_messages("14000000 0200 0000 00000000 00000000 01000000"),
            start + "(error number 1)");
  EXPECT_EQ(fault_of_messages("14000000 0200 0000 00000000 00000000 00000080"),
            start + "(error number -2147483648)");
  EXPECT_EQ(fault_of_messages("10000000 0100 0000 00000000 00000000 0000"),
            start + "(2 trailing bytes)");
}

}  // namespace
}  // namespace xenpv::nbd
