#include "xenpv/wire/nbd.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string_view>
#include <utility>

#include "wire/nbd_message.hpp"

namespace xenpv::wire {
namespace {

TEST(nbd_magic, has_the_specified_text) {
  const be64 init(nbd_init_magic);
  const be64 option(nbd_option_magic);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(&init), 8), "NBDMAGIC");
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(&option), 8), "IHAVEOPT");
}

TEST(nbd_option, has_the_specified_numbers_and_names) {
  const std::pair<unsigned, const char*> all[] = {{1, "NBD_OPT_EXPORT_NAME"},
                                                  {2, "NBD_OPT_ABORT"},
                                                  {3, "NBD_OPT_LIST"},
                                                  {4, "NBD_OPT_PEEK_EXPORT"},
                                                  {5, "NBD_OPT_STARTTLS"},
                                                  {6, "NBD_OPT_INFO"},
                                                  {7, "NBD_OPT_GO"},
                                                  {8, "NBD_OPT_STRUCTURED_REPLY"},
                                                  {9, "NBD_OPT_LIST_META_CONTEXT"},
                                                  {10, "NBD_OPT_SET_META_CONTEXT"},
                                                  {11, "NBD_OPT_EXTENDED_HEADERS"},
                                                  {0, "unknown option"},
                                                  {12, "unknown option"}};
  for (const auto& [value, name] : all)
    EXPECT_EQ(to_string(static_cast<nbd_option>(value)), name) << value;
}

TEST(nbd_reply, has_the_specified_numbers_and_names) {
  const std::pair<unsigned, const char*> all[] = {{1, "NBD_REP_ACK"},
                                                  {2, "NBD_REP_SERVER"},
                                                  {3, "NBD_REP_INFO"},
                                                  {4, "NBD_REP_META_CONTEXT"},
                                                  {0x80000001, "NBD_REP_ERR_UNSUP"},
                                                  {0x80000002, "NBD_REP_ERR_POLICY"},
                                                  {0x80000003, "NBD_REP_ERR_INVALID"},
                                                  {0x80000004, "NBD_REP_ERR_PLATFORM"},
                                                  {0x80000005, "NBD_REP_ERR_TLS_REQD"},
                                                  {0x80000006, "NBD_REP_ERR_UNKNOWN"},
                                                  {0x80000007, "NBD_REP_ERR_SHUTDOWN"},
                                                  {0x80000008, "NBD_REP_ERR_BLOCK_SIZE_REQD"},
                                                  {0x80000009, "NBD_REP_ERR_TOO_BIG"},
                                                  {0x8000000a, "NBD_REP_ERR_EXT_HEADER_REQD"},
                                                  {0, "unknown reply"},
                                                  {0x80000000, "unknown reply"}};
  for (const auto& [value, name] : all)
    EXPECT_EQ(to_string(static_cast<nbd_reply>(value)), name) << value;
}

TEST(nbd_command, has_the_specified_numbers_and_names) {
  const std::pair<unsigned, const char*> all[] = {
      {0, "NBD_CMD_READ"},         {1, "NBD_CMD_WRITE"},        {2, "NBD_CMD_DISC"},
      {3, "NBD_CMD_FLUSH"},        {4, "NBD_CMD_TRIM"},         {5, "NBD_CMD_CACHE"},
      {6, "NBD_CMD_WRITE_ZEROES"}, {7, "NBD_CMD_BLOCK_STATUS"}, {8, "unknown command"},
      {65535, "unknown command"}};
  for (const auto& [value, name] : all)
    EXPECT_EQ(to_string(static_cast<nbd_command>(value)), name) << value;
}

TEST(nbd_error, has_the_specified_numbers_and_names) {
  const std::pair<unsigned, const char*> all[] = {
      {0, "success"},         {1, "NBD_EPERM"},      {5, "NBD_EIO"},        {12, "NBD_ENOMEM"},
      {22, "NBD_EINVAL"},     {28, "NBD_ENOSPC"},    {75, "NBD_EOVERFLOW"}, {95, "NBD_ENOTSUP"},
      {108, "NBD_ESHUTDOWN"}, {30, "unknown error"}, {122, "unknown error"}};
  for (const auto& [value, name] : all)
    EXPECT_EQ(to_string(static_cast<nbd_error>(value)), name) << value;
}

TEST(nbd_message, is_big_endian) {
  nbd_request raw;
  std::memcpy(&raw,
              "\x25\x60\x95\x13\x00\x01\x00\x06\x01\x02\x03\x04\x05\x06\x07\x08"
              "\x11\x12\x13\x14\x15\x16\x17\x18\x21\x22\x23\x24",
              sizeof raw);
  EXPECT_EQ(raw.magic.value(), nbd_request_magic);
  EXPECT_EQ(raw.flags.value(), 1);
  EXPECT_EQ(raw.type.value(), 6);
  EXPECT_EQ(raw.cookie.value(), 0x0102030405060708U);
  EXPECT_EQ(raw.offset.value(), 0x1112131415161718U);
  EXPECT_EQ(raw.length.value(), 0x21222324U);
}

}  // namespace
}  // namespace xenpv::wire
