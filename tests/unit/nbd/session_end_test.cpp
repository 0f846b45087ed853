// Sessions that the client ends, that the server ends, or that end because the client misbehaves.
#include <gtest/gtest.h>

#include "session_rig.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;

/// Sends reads of 4 KiB with the cookies 0, 1, and so on.
void send_reads(session_rig& rig, std::uint64_t count) {
  std::string all;
  for (std::uint64_t i = 0; i < count; ++i) {
    rig.expect_data(i, 4096);
    all += read_request(i, i * 4096, 4096);
  }
  rig.send(all);
}

/// Sends reads of `length` bytes as long as the session accepts them. Returns the number of reads.
std::size_t flood(session_rig& rig, std::uint64_t length) {
  const auto one = read_request(1, 0, length);
  std::size_t count = 0;
  rig.expect_data(1, length);
  for (; count < 100'000; ++count) {
    if (rig.offer(one) == 0) return count;
    rig.settle();
  }
  ADD_FAILURE() << "a client that does not read replies is not throttled";
  return count;
}

TEST(session_end, answers_requests_in_flight_after_disc) {
  session_rig rig(held());
  send_reads(rig, 32);
  rig.send(request({nbd_command::disc, 0, ~0ULL, 0xFFFFFFFF}) + read_request(99, 0, 512));
  EXPECT_EQ(rig.queue.submitted, 32U) << "bytes after a disconnect are ignored";
  EXPECT_FALSE(rig.ended);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().size(), 32U);
  EXPECT_EQ(rig.ended, "the client disconnected");
  EXPECT_FALSE(rig.is_shut);
}

TEST(session_end, answers_requests_in_flight_after_a_half_close) {
  session_rig rig(held());
  send_reads(rig, 32);
  rig.half_close();
  EXPECT_FALSE(rig.ended);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().size(), 32U);
  EXPECT_EQ(rig.ended, "the client closed the connection");
}

TEST(session_end, answers_requests_received_before_a_drain_and_takes_no_more) {
  session_rig rig(held());
  send_reads(rig, 3);
  rig.served->drain();
  rig.settle();
  (void)rig.offer(read_request(99, 0, 512));
  rig.settle();
  EXPECT_EQ(rig.queue.submitted, 3U);
  EXPECT_FALSE(rig.ended);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().size(), 3U);
  EXPECT_EQ(rig.ended, "the server ends the connection");
}

TEST(session_end, ends_immediately_when_an_idle_session_is_drained) {
  session_rig rig;
  rig.settle();
  rig.served->drain();
  rig.settle();
  EXPECT_EQ(rig.ended, "the server ends the connection");
}

TEST(session_end, completes_a_write_that_is_half_received_when_it_is_drained) {
  session_rig rig(held());
  const auto whole = write_request(1, 0, pattern(8000));
  rig.send(whole.substr(0, 5000));
  rig.served->drain();
  rig.settle();
  EXPECT_FALSE(rig.ended);
  rig.send(whole.substr(5000));
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  EXPECT_EQ(rig.ended, "the server ends the connection");
  EXPECT_EQ(rig.stored(0, 8000), pattern(8000));
}

TEST(session_end, ends_inside_the_payload_of_a_refused_write_when_it_is_drained) {
  session_rig rig;
  rig.send(write_request(1, 1024 * kib, pattern(8000)).substr(0, 5000));
  rig.served->drain();
  EXPECT_EQ(rig.replies(), lines{"1 ENOSPC"});
  EXPECT_EQ(rig.ended, "the server ends the connection");
}

TEST(session_end, is_drained_while_it_throttles_a_client) {
  auto options = held();
  options.limits.requests = 4;
  session_rig rig(std::move(options));
  send_reads(rig, 20);
  EXPECT_EQ(rig.queue.submitted, 4U);
  rig.served->drain();
  rig.settle();
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().size(), 4U);
  EXPECT_EQ(rig.queue.submitted, 4U);
  EXPECT_EQ(rig.ended, "the server ends the connection");
}

TEST(session_end, serves_a_burst_that_is_larger_than_the_request_limit) {
  session_rig rig({.limits = {.requests = 4}});
  send_reads(rig, 200);
  EXPECT_EQ(rig.replies().size(), 200U);
  EXPECT_LE(rig.queue.most_waiting, 4U);
}

TEST(session_end, throttles_a_client_that_never_reads_and_releases_all_on_disconnect) {
  session_rig rig({.device = {.pages = 256}, .limits = {.requests = 16}});
  const auto taken = flood(rig, 64 * kib);
  EXPECT_GT(taken, 16U);
  // At most 16 requests (the limit) in addition to those whose replies fill the socket buffer.
  EXPECT_LT(rig.queue.submitted, 16U + 64U);
  EXPECT_GE(rig.queue.pages()->least_free(), 64U);
  EXPECT_FALSE(rig.ended);
  rig.vanish();
  EXPECT_TRUE(rig.ended);
  EXPECT_EQ(rig.queue.pages()->free(), 256U);
}

TEST(session_end, bounds_the_memory_of_a_client_that_never_reads) {
  session_rig rig(
      {.device = {.size = 8192 * kib}, .limits = {.requests = 128, .heap = 4096 * kib}});
  (void)flood(rig, 1024 * kib);
  // A read of 1 MiB consists of four device requests.
  EXPECT_LE(rig.queue.submitted, 4U * 4);
  rig.vanish();
  EXPECT_TRUE(rig.ended);
}

TEST(session_end, continues_when_a_client_reads_again) {
  session_rig rig({.limits = {.requests = 16}});
  const auto taken = flood(rig, 64 * kib);
  std::size_t replies = 0;
  for (auto some = rig.replies(); !some.empty(); some = rig.replies())
    replies += some.size();
  EXPECT_EQ(replies, taken);
  rig.send_read(2, 0, 512);
  EXPECT_EQ(rig.replies(), lines{"2 data 512"});
}

TEST(session_end, waits_for_the_device_when_a_client_disconnects_with_requests_in_flight) {
  session_rig rig(held());
  send_reads(rig, 8);
  rig.send(write_request(8, 0, pattern(512)));
  rig.vanish();
  EXPECT_FALSE(rig.ended) << "the device still uses the session's memory";
  rig.queue.answer();
  rig.settle();
  EXPECT_FALSE(rig.ended);
  rig.queue.answer_all();
  rig.settle();
  EXPECT_TRUE(rig.ended);
  EXPECT_EQ(rig.queue.pages()->free(), rig.queue.pages()->size());
}

TEST(session_end, does_not_write_a_piece_with_an_incomplete_payload) {
  session_rig rig(held());
  rig.send(write_request(1, 0, pattern(300 * kib)).substr(0, 290 * kib));
  rig.vanish();
  EXPECT_FALSE(rig.ended);
  rig.queue.answer_all();
  rig.settle();
  EXPECT_EQ(rig.ended, "the client closed the connection in the middle of a write");
  EXPECT_EQ(rig.queue.log, lines{"write 0+262144 memory"});
}

TEST(session_end, ends_when_a_client_disconnects_anywhere_in_a_request) {
  const auto whole = write_request(1, 0, pattern(100));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    session_rig rig;
    rig.send(whole.substr(0, size));
    rig.vanish();
    EXPECT_TRUE(rig.ended) << size;
    EXPECT_EQ(rig.queue.submitted, 0U) << size;
  }
}

TEST(session_end, ends_when_a_client_disconnects_in_the_payload_of_a_refused_write) {
  session_rig rig;
  rig.send(write_request(1, 1024 * kib, pattern(200 * kib)).substr(0, 190 * kib));
  rig.vanish();
  EXPECT_EQ(rig.ended, "the client closed the connection");
}

TEST(session_end, stops_the_zeroes_of_a_client_that_was_disconnected) {
  session_rig rig(held({.size = 8192 * kib}));
  rig.send(request({nbd_command::write_zeroes, 1, 0, 8192 * kib}));
  EXPECT_EQ(rig.queue.submitted, 4U);
  rig.served->abandon();
  rig.stream.close();
  rig.queue.answer_all();
  rig.settle();
  EXPECT_EQ(rig.queue.submitted, 4U);
  EXPECT_TRUE(rig.ended);
}

TEST(session_end, hangs_up_on_a_request_with_an_invalid_magic_number) {
  session_rig rig(held());
  send_reads(rig, 2);
  auto wrong = read_request(3, 0, 512);
  wrong[3] = '\x14';
  rig.send(wrong + read_request(4, 0, 512));
  EXPECT_TRUE(rig.is_shut);
  EXPECT_FALSE(rig.ended) << "the device still has requests";
  EXPECT_EQ(rig.queue.submitted, 2U);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{});
  EXPECT_TRUE(rig.saw_end);
  EXPECT_EQ(rig.ended, "invalid magic number in a request");
}

TEST(session_end, hangs_up_on_a_payload_of_4_gib) {
  session_rig rig;
  rig.send(request({nbd_command::write, 1, 0, 0xFFFFFFFF}));
  EXPECT_EQ(rig.replies(), lines{});
  EXPECT_TRUE(rig.saw_end);
  EXPECT_TRUE(rig.is_shut);
  EXPECT_EQ(rig.ended, "the client announced an oversized payload");
}

}  // namespace
}  // namespace xenpv::nbd
