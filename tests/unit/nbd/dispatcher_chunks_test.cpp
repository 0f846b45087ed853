// Large reads from clients that negotiated structured replies are answered in chunks as the data
// arrives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dispatcher_rig.hpp"
#include "session_rig.hpp"

namespace xenpv::nbd::test {
namespace {

constexpr session_terms structured{true};

fake_options large() {
  return {.size = 4096 * kib};
}

std::string fill(fake_device& device) {
  const auto bytes = pattern(device.bytes.size());
  std::memcpy(device.bytes.data(), bytes.data(), bytes.size());
  return bytes;
}

TEST(large_reads, are_answered_in_chunks_as_data_arrives) {
  dispatcher_rig rig(large(), structured);
  const auto bytes = fill(rig.device);
  (void)rig.begin({nbd_command::read, 1, 512, 1024 * kib});
  EXPECT_EQ(rig.queue.log, (lines{"read 512+262144 memory", "read 262656+262144 memory",
                                  "read 524800+262144 memory", "read 786944+262144 memory"}));
  rig.queue.answer(1);
  EXPECT_EQ(rig.replies(), lines{"1 part 262144 at 262656"});
  EXPECT_EQ(rig.data(), bytes.substr(262656, 262144));
  rig.queue.answer(2);
  EXPECT_EQ(rig.replies(), lines{"1 part 262144 at 786944"});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), (lines{"1 part 262144 at 512", "1 data 262144"}));
  EXPECT_EQ(rig.data_offset(), 524800U);
  EXPECT_EQ(rig.data(), bytes.substr(524800, 262144));
  EXPECT_EQ(rig.dispatch().statistics().bytes_read, 1024 * kib);
  EXPECT_EQ(rig.dispatch().in_flight(), 1U) << "its chunks have not been sent yet";
  rig.recycle();
  EXPECT_EQ(rig.dispatch().in_flight(), 0U);
}

TEST(large_reads, have_no_more_chunks_in_flight_than_the_client_accepts) {
  dispatcher_rig rig(large(), structured);
  (void)rig.begin({nbd_command::read, 1, 0, 2048 * kib});
  EXPECT_EQ(rig.queue.submitted, 4U);
  rig.queue.answer_all();
  EXPECT_EQ(rig.queue.submitted, 4U) << "the chunks have not been sent yet";
  rig.recycle();
  EXPECT_EQ(rig.queue.submitted, 8U);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().back(), "1 data 262144");
  rig.recycle();
  EXPECT_EQ(rig.dispatch().in_flight(), 0U);
}

TEST(large_reads, end_with_the_error_of_a_piece_after_earlier_chunks) {
  dispatcher_rig rig(large(), structured);
  rig.queue.fails = [](const blk::request& r) {
    return r.offset == 262144 ? std::make_error_code(std::errc::io_error) : std::error_code();
  };
  (void)rig.begin({nbd_command::read, 1, 0, 2048 * kib});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 part 262144 at 0"}) << "data after an error is useless";
  rig.recycle();
  EXPECT_EQ(rig.replies(), lines{"1 EIO"});
  EXPECT_EQ(rig.queue.submitted, 4U) << "the rest is not read";
  EXPECT_EQ(rig.dispatch().statistics().errors, 1U);
  rig.recycle();
  EXPECT_EQ(rig.dispatch().in_flight(), 0U);
}

TEST(large_reads, whose_last_piece_fails_have_sent_no_final_chunk) {
  dispatcher_rig rig(large(), structured);
  rig.queue.fails = [](const blk::request& r) {
    return r.offset == 786432 ? std::make_error_code(std::errc::io_error) : std::error_code();
  };
  (void)rig.begin({nbd_command::read, 1, 0, 1024 * kib});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(),
            (lines{"1 part 262144 at 0", "1 part 262144 at 262144", "1 part 262144 at 524288"}));
  rig.recycle();
  EXPECT_EQ(rig.replies(), lines{"1 EIO"});
}

TEST(large_reads, are_not_split_if_the_client_forbids_it) {
  dispatcher_rig rig(large(), structured);
  (void)rig.begin({nbd_command::read, 1, 0, 1024 * kib, wire::nbd_cmd_flag_df});
  EXPECT_EQ(rig.queue.log, (lines{"read 0+262144 memory", "read 262144+262144 memory",
                                  "read 524288+262144 memory", "read 786432+262144 memory"}));
  rig.queue.answer(2);
  EXPECT_EQ(rig.replies(), lines{});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 data 1048576"});
}

TEST(large_reads, are_not_split_without_structured_replies) {
  dispatcher_rig rig(large());
  (void)rig.begin({nbd_command::read, 1, 0, 1024 * kib});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 data 1048576"});
}

TEST(large_reads, come_from_pages_in_pieces_that_fit_a_lease) {
  dispatcher_rig rig({.size = 4096 * kib, .pages = 480}, structured);
  const auto bytes = fill(rig.device);
  (void)rig.begin({nbd_command::read, 1, 0, 256 * kib});
  EXPECT_EQ(rig.queue.log, (lines{"read 0+131072 pages", "read 131072+131072 pages"}));
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), (lines{"1 part 131072 at 0", "1 data 131072"}));
  EXPECT_EQ(rig.data(), bytes.substr(131072, 131072));
  rig.recycle();
  EXPECT_EQ(rig.queue.pages()->free(), 480U);
}

TEST(large_reads, end_early_when_the_client_disconnects) {
  dispatcher_rig rig(large(), structured);
  (void)rig.begin({nbd_command::read, 1, 0, 4096 * kib});
  rig.queue.answer_all();
  rig.dispatch().abandon();
  rig.recycle();
  EXPECT_EQ(rig.queue.submitted, 4U);
  EXPECT_EQ(rig.replies(), lines{"1 ESHUTDOWN"});
  rig.recycle();
  EXPECT_EQ(rig.dispatch().in_flight(), 0U);
}

TEST(large_reads, keep_their_order_through_a_session) {
  session_rig rig({.device = large(), .terms = structured});
  rig.send(read_request(1, 0, 2048 * kib) + read_request(2, 4096, 4096));
  lines all;
  while (all.empty() || all.back() != "1 data 262144") {
    const auto received = rig.replies();
    ASSERT_FALSE(received.empty());
    all.insert(all.end(), received.begin(), received.end());
  }
  EXPECT_EQ(std::count(all.begin(), all.end(), "2 data 4096"), 1);
  EXPECT_EQ(all.size(), 9U);
}

TEST(write_zeroes_after_reads_in_chunks, send_zeros) {
  dispatcher_rig rig({.size = 4096 * kib, .pages = 480}, {.structured = true});
  fill(rig.device);
  (void)rig.begin({nbd_command::read, 1, 0, 512 * kib});
  rig.queue.answer_all();
  (void)rig.replies();
  rig.recycle();
  (void)rig.begin({nbd_command::write_zeroes, 2, 0, 512 * kib});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"2 ok"});
  EXPECT_EQ(rig.stored(0, 512 * kib), std::string(512 * kib, '\0'));
}

}  // namespace
}  // namespace xenpv::nbd::test
