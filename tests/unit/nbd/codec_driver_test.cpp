// Messages of the kernel NBD driver, byte by byte (little-endian).
#include "nbd/codec_driver.hpp"

#include <gmock/gmock.h>

#include "bytes.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using ::testing::ElementsAre;

std::string request(driver_command command, const driver_request& fields) {
  return hex(as_text(encode_driver_request(0x1c, command, 7, fields).bytes()));
}

TEST(encode_family_request, looks_up_a_family_by_name) {
  EXPECT_EQ(hex(as_text(encode_family_request(3, "nbd").bytes())),
            digits("1c000000 1000 0500 03000000 00000000  03 02 0000  0800 0200 6e626400"));
}

TEST(encode_driver_request, omits_unset_fields) {
  EXPECT_EQ(request(driver_command::status, {}),
            digits("14000000 1c00 0500 07000000 00000000  05 01 0000"));
  driver_request one;
  one.index = 0;
  EXPECT_EQ(request(driver_command::disconnect, one),
            digits("1c000000 1c00 0500 07000000 00000000  02 01 0000  0800 0100 00000000"));
}

TEST(encode_driver_request, connects_with_every_field) {
  driver_request fields;
  fields.index = 2;
  fields.size = 0x1000000;
  fields.block_size = 4096;
  fields.timeout = 30;
  fields.dead_timeout = 60;
  fields.server_flags = 0x10d;
  fields.sockets = {10, 11};
  fields.identifier = "xvdb";
  EXPECT_EQ(request(driver_command::connect, fields),
            digits("80000000 1c00 0500 07000000 00000000  01 01 0000"
                   "0800 0100 02000000"
                   "0c00 0200 0000000100000000"
                   "0c00 0300 0010000000000000"
                   "0c00 0400 1e00000000000000"
                   "0c00 0800 3c00000000000000"
                   "0c00 0500 0d01000000000000"
                   "0900 0a00 7876646200 000000"
                   "1c00 0780"
                   "  0c00 0180  0800 0100 0a000000"
                   "  0c00 0180  0800 0100 0b000000"));
}

TEST(encode_driver_request, reconfigures_a_single_field) {
  driver_request fields;
  fields.index = 1;
  fields.size = 4096;
  EXPECT_EQ(request(driver_command::reconfigure, fields),
            digits("28000000 1c00 0500 07000000 00000000  03 01 0000"
                   "0800 0100 01000000  0c00 0200 0010000000000000"));
}

// ---- replies

/// Reply from Linux 6.1: name, ID, version, header size, attributes, operations, groups.
const std::string family_answer = unhex(
    "0800 0200 6e626400  0600 0100 1c00 0000  0800 0300 01000000"
    "0800 0400 00000000  0800 0500 0a000000"
    "1800 0600  1400 0100  0800 0100 01000000  0800 0200 0a000000"
    "2400 0700"
    "  2000 0100  0800 0200 05000000  1100 0100 6e62645f6d635f67726f757000 000000");

TEST(decode_family, finds_its_id_and_the_group) {
  const auto decoded = decode_family(as_bytes(family_answer), "nbd_mc_group");
  ASSERT_TRUE(decoded.has_value()) << decoded.error().text;
  EXPECT_EQ(decoded->id, 0x1c);
  EXPECT_EQ(decoded->group, 5u);
  EXPECT_EQ(decode_family(as_bytes(family_answer), "nbd_mc")->group, std::nullopt);
}

TEST(decode_family, accepts_a_reply_without_groups) {
  const auto answer = unhex("0600 0100 1c00 0000");
  const auto decoded = decode_family(as_bytes(answer), "nbd_mc_group");
  ASSERT_TRUE(decoded.has_value()) << decoded.error().text;
  EXPECT_EQ(decoded->group, std::nullopt);
}

std::string fault_of_family(std::string_view grouped) {
  const auto bytes = unhex(grouped);
  const auto decoded = decode_family(as_bytes(bytes), "nbd_mc_group");
  return decoded.has_value() ? "no fault" : decoded.error().text;
}

TEST(decode_family, refuses_malformed_replies) {
  const std::string start = "read a reply from the NBD driver: protocol violation ";
  EXPECT_EQ(fault_of_family(""), start + "(no valid family id)");
  EXPECT_EQ(fault_of_family("0800 0100 1c000000"), start + "(no valid family id)");
  EXPECT_EQ(fault_of_family("0600 0100 0300 0000"), start + "(no valid family id)");
  EXPECT_EQ(fault_of_family("0600 0100 1c00 0000  2100 0700  1d00 0100"
                            "  0500 0200 05 000000  1100 0100 6e62645f6d635f67726f757000"),
            start + "(multicast group id of the wrong size)");
  for (const auto* broken : {"0300", "0600 0100 1c00 0000 0800 0700 05000000",
                             "0600 0100 1c00 0000 0c00 0700 0800 0100 05000000"})
    EXPECT_THAT(fault_of_family(broken), ::testing::HasSubstr("protocol violation")) << broken;
}

TEST(decode_index, returns_the_device_number) {
  const auto bytes = unhex("0800 0100 0f000000");
  EXPECT_EQ(decode_index(as_bytes(bytes)).value(), 15u);
}

TEST(decode_index, refuses_a_reply_without_a_device_number) {
  for (const auto* grouped : {"", "0c00 0100 0f00000000000000", "0800 0200 0f000000"}) {
    const auto bytes = unhex(grouped);
    const auto index = decode_index(as_bytes(bytes));
    ASSERT_FALSE(index.has_value());
    EXPECT_EQ(index.error().text,
              "read a reply from the NBD driver: protocol violation (no device number)");
  }
  const auto broken = unhex("0900 0100 0f000000");
  EXPECT_FALSE(decode_index(as_bytes(broken)).has_value());
}

TEST(decode_status, lists_devices) {
  const auto bytes = unhex(
      "2c00 0900"
      "  1400 0100  0800 0100 00000000  0500 0200 01 000000"
      "  1400 0100  0800 0100 03000000  0500 0200 00 000000");
  const auto list = decode_status(as_bytes(bytes));
  ASSERT_TRUE(list.has_value()) << list.error().text;
  EXPECT_THAT(*list, ElementsAre(device_status{0, true}, device_status{3, false}));
}

TEST(decode_status, lists_nothing_for_a_missing_device) {
  const auto bytes = unhex("0400 0980");
  const auto list = decode_status(as_bytes(bytes));
  ASSERT_TRUE(list.has_value()) << list.error().text;
  EXPECT_TRUE(list->empty());
}

TEST(decode_status, refuses_malformed_replies) {
  const auto fault = [](std::string_view grouped) {
    const auto bytes = unhex(grouped);
    const auto list = decode_status(as_bytes(bytes));
    return list.has_value() ? std::string("no fault") : list.error().text;
  };
  const std::string start = "read a reply from the NBD driver: protocol violation ";
  EXPECT_EQ(fault(""), start + "(no device list)");
  EXPECT_EQ(fault("1000 0900  0c00 0100  0800 0100 00000000"),
            start + "(device without number or state)");
  EXPECT_EQ(fault("1000 0900  0c00 0100  0500 0200 01 000000"),
            start + "(device without number or state)");
  for (const auto* broken :
       {"0300", "0800 0900 0500 0100", "0c00 0900  0800 0100 0500 0100", "0900 0900 00000000"})
    EXPECT_THAT(fault(broken), ::testing::HasSubstr("protocol violation")) << broken;
}

}  // namespace
}  // namespace xenpv::nbd
