// The number of system calls that a session makes for a request. Each read and each write is one;
// each handler that the event loop runs may be preceded by one that polls for events.
#include <gtest/gtest.h>

#include "async/event_batch.hpp"
#include "session_rig.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;

session_options fast(fake_options device = {}) {
  device.answers = false;
  return {.device = device};
}

/// A session that has served a request, so that the counts begin with the next one.
class served_once : public testing::Test {
 protected:
  served_once() : rig(fast({.size = 8192 * kib, .pages = 1024})) {
    rig.queue.answers_in_commit = true;
    rig.send_read(0, 0, 4096);
    EXPECT_EQ(rig.replies(), lines{"0 data 4096"});
    reset();
  }
  void reset() {
    auto& stream = rig.stream;
    stream.reads = stream.writes = stream.awaited_reads = stream.awaited_writes = 0;
  }

  session_rig rig;
};

using session_calls = served_once;

TEST_F(session_calls, reads_only_once_if_the_client_waits_for_each_reply) {
  for (std::uint64_t i = 1; i <= 10; ++i) {
    rig.send_read(i, 0, 4096);
    EXPECT_EQ(rig.replies(), lines{fmt::format("{} data 4096", i)});
  }
  EXPECT_EQ(rig.stream.awaited_reads, 10U);
  EXPECT_EQ(rig.stream.reads, 0U);
}

TEST_F(session_calls, reads_only_once_for_a_small_write_whose_client_waits_for_the_reply) {
  rig.send(write_request(1, 0, pattern(4096)));
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  EXPECT_EQ(rig.stream.awaited_reads + rig.stream.reads, 1U);
}

TEST_F(session_calls, reads_again_before_it_commits_the_requests_of_a_busy_client) {
  rig.queue.answers_in_commit = false;
  rig.send_read(1, 0, 4096);
  reset();
  rig.send_read(2, 0, 4096);
  EXPECT_EQ(rig.stream.reads, 1U);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().size(), 2U);
}

TEST_F(session_calls, writes_a_reply_without_an_asynchronous_operation) {
  rig.send_read(1, 0, 128 * kib);
  EXPECT_EQ(rig.replies(), lines{"1 data 131072"});
  EXPECT_EQ(rig.stream.writes, 1U);
  EXPECT_EQ(rig.stream.awaited_writes, 0U);
}

TEST_F(session_calls, serves_a_request_that_completes_within_commit_in_one_handler) {
  (void)rig.offer(read_request(1, 0, 4096));
  rig.expect_data(1, 4096);
  EXPECT_EQ(rig.count_handlers(), 1U);
  EXPECT_EQ(rig.sent_replies(), lines{"1 data 4096"});
}

TEST_F(session_calls, sends_replies_at_the_end_of_a_batch_of_events) {
  rig.queue.answers_in_commit = false;
  for (std::uint64_t i = 1; i <= 3; ++i)
    rig.send_read(i, 0, 4096);
  {
    const async::event_batch batch;
    rig.queue.answer_all();
    EXPECT_EQ(rig.sent_replies(), lines{});
  }
  EXPECT_EQ(rig.sent_replies().size(), 3U);
  EXPECT_EQ(rig.stream.writes, 1U);
  EXPECT_EQ(rig.count_handlers(), 0U);
}

TEST_F(session_calls, sends_the_replies_of_all_connections_at_the_end_of_a_batch) {
  session_rig other(fast());
  rig.queue.answers_in_commit = false;
  rig.send_read(1, 0, 512);
  other.send_read(2, 0, 512);
  {
    const async::event_batch outer;
    {
      const async::event_batch inner;
      rig.queue.answer_all();
    }
    EXPECT_EQ(rig.sent_replies(), lines{});
    other.queue.answer_all();
  }
  EXPECT_EQ(rig.sent_replies(), lines{"1 data 512"});
  EXPECT_EQ(other.sent_replies(), lines{"2 data 512"});
}

TEST_F(session_calls, waits_for_a_client_whose_socket_is_full) {
  for (std::uint64_t i = 1; i <= 4; ++i) {
    rig.expect_data(i, 1024 * kib);
    (void)rig.offer(read_request(i, 0, 1024 * kib));
  }
  rig.settle();
  EXPECT_EQ(rig.stream.awaited_writes, 1U);
  const auto writes = rig.stream.writes;
  rig.settle();
  EXPECT_EQ(rig.stream.writes, writes) << "a full socket is not polled";
  std::size_t replies = 0;
  for (auto some = rig.replies(); !some.empty(); some = rig.replies())
    replies += some.size();
  EXPECT_EQ(replies, 4U);
}

}  // namespace
}  // namespace xenpv::nbd
