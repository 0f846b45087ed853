// A session with a well-behaved client: how it receives requests and sends replies.
#include <gtest/gtest.h>

#include "session_rig.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;

TEST(session, begins_all_requests_of_a_buffer_before_one_commit) {
  session_rig rig(held());
  std::string all;
  for (std::uint64_t i = 0; i < 20; ++i) {
    rig.expect_data(i, 512);
    all += read_request(i, i * 512, 512);
  }
  rig.send(all + write_request(20, 0, pattern(700)) + request({nbd_command::flush, 21}));
  EXPECT_EQ(rig.queue.batches, std::vector<std::size_t>{22});
}

TEST(session, gathers_the_replies_that_are_ready_into_one_write) {
  session_rig rig(held());
  std::string all;
  for (std::uint64_t i = 0; i < 20; ++i) {
    rig.expect_data(i, 512);
    all += read_request(i, i * 512, 512);
  }
  rig.send(all);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().size(), 20U);
  EXPECT_EQ(rig.stream.writes, 1U);
}

TEST(session, sends_large_data_in_one_write) {
  session_rig rig(held());
  rig.send_read(1, 0, 128 * kib);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 data 131072"});
  EXPECT_EQ(rig.stream.writes, 1U);
}

TEST(session, replies_to_each_request_as_soon_as_it_is_answered) {
  session_rig rig(held());
  rig.send_read(1, 0, 512);
  rig.send_read(2, 512, 512);
  rig.queue.answer(1);
  EXPECT_EQ(rig.replies(), lines{"2 data 512"});
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{"1 data 512"});
}

TEST(session, begins_with_the_bytes_received_after_the_handshake) {
  session_rig rig({.first = write_request(1, 4096, "hello")});
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  EXPECT_EQ(rig.stored(4096, 5), "hello");
}

TEST(session, reassembles_a_request_split_at_any_byte) {
  for (std::size_t split = 1; split < 28; ++split) {
    // The first part arrived with the end of the handshake.
    const auto whole = read_request(7, 0, 512);
    session_rig rig({.first = whole.substr(0, split)});
    rig.expect_data(7, 512);
    EXPECT_EQ(rig.replies(), lines{}) << split;
    rig.send(whole.substr(split) + whole.substr(0, split));
    EXPECT_EQ(rig.replies(), lines{"7 data 512"}) << split;
    rig.send(whole.substr(split));
    EXPECT_EQ(rig.replies(), lines{"7 data 512"}) << split;
  }
}

TEST(session, accepts_requests_byte_by_byte) {
  session_rig rig;
  rig.trickle(write_request(1, 100, pattern(300)));
  rig.expect_data(2, 300);
  rig.trickle(read_request(2, 100, 300));
  EXPECT_EQ(rig.replies(), (lines{"1 ok", "2 data 300"}));
  EXPECT_EQ(rig.reader.data, pattern(300));
}

TEST(session, accepts_a_payload_split_at_any_byte) {
  const auto payload = pattern(9000, 4);
  const auto whole = write_request(1, 511, payload) + write_request(2, 20'000, "next");
  for (const std::size_t split : {27U, 28U, 29U, 28U + 4096U, 28U + 4097U, 28U + 8999U, 28U + 9000U,
                                  28U + 9001U, 28U + 9027U, 28U + 9029U}) {
    session_rig rig;
    rig.send(whole.substr(0, split));
    rig.send(whole.substr(split));
    EXPECT_EQ(rig.replies(), (lines{"1 ok", "2 ok"})) << split;
    EXPECT_EQ(rig.stored(511, 9000), payload) << split;
    EXPECT_EQ(rig.stored(20'000, 4), "next") << split;
  }
}

TEST(session, accepts_a_payload_that_is_larger_than_its_buffer) {
  session_rig rig({.device = {.size = 4096 * kib}});
  const auto payload = pattern(1500 * kib + 3);
  rig.expect_data(2, payload.size());
  rig.send(write_request(1, 1, payload) + read_request(2, 1, payload.size()));
  EXPECT_EQ(rig.replies(), (lines{"1 ok", "2 data 1536003"}));
  EXPECT_EQ(rig.reader.data, payload);
}

TEST(session, submits_the_first_pieces_of_a_large_write_while_the_rest_arrives) {
  session_rig rig(held());
  rig.send(write_request(1, 0, pattern(600 * kib)).substr(0, 400 * kib));
  EXPECT_EQ(rig.queue.waiting.size(), 1U);
}

TEST(session, sends_many_ranges_of_data_in_order) {
  // The replies need more I/O vectors than one write accepts, because each page that is not
  // adjacent to the previous one needs its own vector.
  session_rig rig(held({.pages = 2048}));
  std::vector<std::optional<blk::lease>> every_other;
  std::vector<std::optional<blk::lease>> between;
  for (unsigned i = 0; i < 1024; ++i) {
    every_other.push_back(rig.queue.try_lease(0, 4096));
    between.push_back(rig.queue.try_lease(0, 4096));
  }
  between.clear();
  every_other.clear();
  const auto bytes = pattern(120 * kib);
  rig.send(write_request(1, 0, bytes));
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  for (std::uint64_t i = 0; i < 30; ++i)
    rig.send_read(i, i * 512, 100 * kib);
  rig.queue.answer_all();
  for (std::uint64_t i = 0; i < 30; ++i)
    ASSERT_EQ(rig.queue.log[i + 1], fmt::format("read {}+102400 pages", i * 512));
  const auto answers = rig.replies();
  ASSERT_EQ(answers.size(), 30U);
  for (std::uint64_t i = 0; i < 30; ++i)
    EXPECT_EQ(answers[i], fmt::format("{} data 102400", i));
  EXPECT_EQ(rig.reader.data, bytes.substr(29 * 512, 100 * kib));
}

TEST(session, discards_the_payload_of_a_refused_write) {
  // The payload looks like requests. A session that parsed the payload would execute them.
  std::string trap;
  while (trap.size() < 400 * kib)
    trap += request({nbd_command::write_zeroes, 666, 0, 4096});
  for (const std::size_t size : {28U, 28U * 100, 128U * 1024, 128U * 1024 + 1, 400U * 1024}) {
    session_rig rig;
    rig.device.bytes[0] = std::byte{'x'};
    rig.expect_data(2, 1);
    rig.send(write_request(1, 1024 * kib, trap.substr(0, size)) + read_request(2, 0, 1));
    EXPECT_EQ(rig.replies(), (lines{"1 ENOSPC", "2 data 1"})) << size;
    EXPECT_EQ(rig.reader.data, "x") << size;
    EXPECT_EQ(rig.queue.submitted, 1U) << size;
  }
}

TEST(session, discards_the_payload_of_a_refused_write_split_at_any_byte) {
  const auto whole = write_request(1, 1024 * kib, request({nbd_command::trim, 9})) +
                     request({nbd_command::flush, 2});
  for (std::size_t split = 1; split < whole.size(); ++split) {
    session_rig rig;
    rig.send(whole.substr(0, split));
    rig.send(whole.substr(split));
    EXPECT_EQ(rig.replies(), (lines{"1 ENOSPC", "2 ok"})) << split;
  }
}

TEST(session, answers_requests_with_the_same_cookie) {
  session_rig rig(held());
  rig.expect_data(5, 4096);
  rig.send(read_request(5, 0, 4096) + read_request(5, 4096, 4096) + read_request(5, 8192, 4096));
  rig.queue.answer(2);
  rig.queue.answer(0);
  rig.queue.answer(0);
  EXPECT_EQ(rig.replies(), lines(3, "5 data 4096"));
}

TEST(session, sends_structured_replies_if_negotiated) {
  session_rig rig({.terms = {.structured = true}});
  rig.send(write_request(1, 4096, "abc") + read_request(2, 4096, 3) +
           read_request(3, 1024 * kib, 1));
  EXPECT_EQ(rig.replies(), (lines{"3 EINVAL: beyond the end of the export", "1 ok", "2 data 3"}));
  EXPECT_EQ(rig.reader.offset, 4096U);
  EXPECT_EQ(rig.reader.data, "abc");
}

TEST(session, checks_requests_against_the_new_size_after_a_resize) {
  session_rig rig;
  auto now = rig.exported;
  now.size = 512 * kib;
  rig.served->reshape(now);
  rig.send(read_request(1, 512 * kib, 512) + write_request(2, 512 * kib, pattern(512)));
  EXPECT_EQ(rig.replies(), (lines{"1 EINVAL", "2 ENOSPC"}));
  now.size = 1024 * kib;
  rig.served->reshape(now);
  rig.send_read(3, 1024 * kib - 512, 512);
  EXPECT_EQ(rig.replies(), lines{"3 data 512"});
}

TEST(session, counts_requests_errors_and_bytes) {
  session_rig rig;
  rig.send_read(1, 0, 4096);
  rig.send_read(2, 1024 * kib, 1);
  rig.send(write_request(3, 0, pattern(100)));
  EXPECT_EQ(rig.replies().size(), 3U);
  const auto& counted = rig.served->statistics();
  EXPECT_EQ(counted.requests, 3U);
  EXPECT_EQ(counted.errors, 1U);
  EXPECT_EQ(counted.bytes_read, 4096U);
  EXPECT_EQ(counted.bytes_written, 100U);
}

}  // namespace
}  // namespace xenpv::nbd
