// Sessions of clients that negotiated extended headers.
#include <gtest/gtest.h>

#include "session_rig.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;

constexpr unsigned payload_len = 32;

session_options extended(fake_options device = {}) {
  return {.device = device, .terms = {.structured = true, .extended = true}};
}

std::string write(std::uint64_t cookie, std::uint64_t offset, std::string_view payload) {
  return extended_request({nbd_command::write, cookie, offset, payload.size(), payload_len}) +
         std::string(payload);
}

TEST(extended_session, answers_every_command_with_a_chunk) {
  session_rig rig(extended());
  rig.send(write(1, 4096, "abc"));
  EXPECT_EQ(rig.replies(), lines{"1 done"});
  EXPECT_EQ(rig.reader.request_offset, 4096U);
  rig.send(extended_request({nbd_command::read, 2, 4096, 3}));
  EXPECT_EQ(rig.replies(), lines{"2 data 3"});
  EXPECT_EQ(rig.reader.data, "abc");
  EXPECT_EQ(rig.reader.offset, 4096U);
  rig.send(extended_request({nbd_command::read, 3, 4096, 0}) +
           extended_request({nbd_command::flush, 4}));
  EXPECT_EQ(rig.replies(), (lines{"3 done", "4 done"}));
  rig.send(extended_request({nbd_command::trim, 5, 8192, 512}) +
           extended_request({nbd_command::write_zeroes, 6, 4096, 2}));
  EXPECT_EQ(rig.replies(), (lines{"5 done", "6 done"}));
  rig.send(extended_request({nbd_command::read, 7, 1024 * kib, 1}));
  EXPECT_EQ(rig.replies(), lines{"7 EINVAL: beyond the end of the export"});
  EXPECT_EQ(rig.reader.request_offset, 1024 * kib);
}

TEST(extended_session, repeats_the_offset_of_the_request_in_each_chunk) {
  session_rig rig(extended({.size = 4096 * kib}));
  rig.send(extended_request({nbd_command::read, 1, 512, 1024 * kib}));
  lines all;
  for (auto some = rig.replies(); !some.empty(); some = rig.replies()) {
    EXPECT_EQ(rig.reader.request_offset, 512U);
    all.insert(all.end(), some.begin(), some.end());
  }
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[1], "1 part 262144 at 262656");
  EXPECT_EQ(all.back(), "1 data 262144");
}

TEST(extended_session, reassembles_a_request_split_at_any_byte) {
  for (std::size_t split = 1; split < 32; ++split) {
    const auto whole = extended_request({nbd_command::read, 7, 0, 512});
    session_rig rig(extended());
    rig.send(whole.substr(0, split));
    EXPECT_EQ(rig.replies(), lines{}) << split;
    rig.send(whole.substr(split) + whole);
    EXPECT_EQ(rig.replies(), lines(2, "7 data 512")) << split;
  }
}

TEST(extended_session, discards_an_unexpected_payload) {
  std::string trap;
  while (trap.size() < 4096)
    trap += extended_request({nbd_command::write_zeroes, 666, 0, 4096});
  session_rig rig(extended());
  rig.send(extended_request({nbd_command::trim, 1, 0, trap.size(), payload_len}) + trap +
           extended_request({nbd_command::flush, 2}));
  EXPECT_EQ(rig.replies(),
            (lines{"1 EINVAL: a flag that is unknown or invalid for this command", "2 done"}));
  EXPECT_EQ(rig.queue.log, lines{"flush"});
}

TEST(extended_session, hangs_up_on_a_compact_request) {
  session_rig rig(extended());
  rig.send(read_request(1, 0, 512) + std::string(4, '\0'));
  EXPECT_EQ(rig.ended, "invalid magic number in a request");
}

TEST(extended_session, hangs_up_on_an_excessive_payload_of_any_command) {
  session_rig rig(extended());
  rig.send(extended_request({nbd_command::trim, 1, 0, std::uint64_t{1} << 40, payload_len}));
  EXPECT_EQ(rig.ended, "the client announced an oversized payload");
}

TEST(extended_session, zeroes_a_whole_disk_with_one_request) {
  session_rig rig(extended({.size = 32 * mib}));
  rig.device.bytes[0] = rig.device.bytes.back() = std::byte{1};
  rig.send(extended_request({nbd_command::write_zeroes, 1, 0, 32 * mib}));
  EXPECT_EQ(rig.replies(), lines{"1 done"});
  EXPECT_EQ(rig.stored(0, 1) + rig.stored(32 * mib - 1, 1), std::string(2, '\0'));
}

}  // namespace
}  // namespace xenpv::nbd
