// Sessions that share a memory budget.
#include <gtest/gtest.h>

#include "session_rig.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;

TEST(session_memory, begins_no_read_that_the_budget_has_no_room_for) {
  memory_budget budget(4 * mib);
  session_rig rig({.device = {.size = 8 * mib}, .shared = {.memory = &budget}});
  for (std::uint64_t i = 0; i < 8; ++i) {
    rig.expect_data(i, 2 * mib);
    rig.send(read_request(i, 0, 2 * mib));
  }
  EXPECT_LE(budget.most_used(), budget.limit());
  EXPECT_EQ(rig.queue.submitted, 8U) << "one read, in pieces of 256 KiB";
  lines all;
  for (auto some = rig.replies(); !some.empty(); some = rig.replies())
    all.insert(all.end(), some.begin(), some.end());
  EXPECT_EQ(all.size(), 8U);
  EXPECT_LE(budget.most_used(), budget.limit());
}

TEST(session_memory, serves_small_requests_while_another_client_uses_the_whole_budget) {
  memory_budget budget(4 * mib);
  session_rig greedy({.device = {.size = 8 * mib}, .shared = {.memory = &budget}});
  for (int i = 0; i < 8; ++i)
    (void)greedy.offer(read_request(1, 0, mib));
  greedy.settle();
  session_rig neighbour({.device = {.size = 8 * mib, .pages = 0}, .shared = {.memory = &budget}});
  for (std::uint64_t i = 0; i < 100; ++i)
    neighbour.send_read(i, 0, 4096);
  EXPECT_EQ(neighbour.replies().size(), 100U);
  neighbour.send(write_request(200, 0, pattern(2 * mib)));
  EXPECT_EQ(neighbour.replies(), lines{"200 ok"});
  EXPECT_TRUE(neighbour.stored(0, 2 * mib) == pattern(2 * mib));
  EXPECT_LE(budget.most_used(), budget.limit() + memory_budget::guaranteed);
}

TEST(session_memory, continues_when_another_client_returns_memory) {
  memory_budget budget(4 * mib);
  session_rig greedy({.device = {.size = 8 * mib}, .shared = {.memory = &budget}});
  greedy.send(read_request(1, 0, 3 * mib));
  session_rig waiting({.device = {.size = 8 * mib}, .shared = {.memory = &budget}});
  waiting.send_read(2, 0, 2 * mib);
  EXPECT_EQ(waiting.replies(), lines{});
  EXPECT_EQ(budget.waiting(), 1U);
  greedy.vanish();
  EXPECT_EQ(waiting.replies(), lines{"2 data 2097152"});
}

TEST(session_memory, ends_while_it_waits_for_memory) {
  memory_budget budget(4 * mib);
  session_rig greedy({.device = {.size = 8 * mib}, .shared = {.memory = &budget}});
  greedy.send(read_request(1, 0, 3 * mib));
  session_rig waiting({.device = {.size = 8 * mib}, .shared = {.memory = &budget}});
  waiting.send_read(2, 0, 2 * mib);
  waiting.served->drain();
  waiting.settle();
  EXPECT_EQ(waiting.ended, "the server ends the connection");
  EXPECT_EQ(budget.waiting(), 0U);
}

TEST(session_memory, ends_if_a_reply_cannot_be_sent_just_before_it_waits_for_memory) {
  memory_budget budget(4 * mib);
  session_rig greedy({.device = {.size = 8 * mib}, .shared = {.memory = &budget}});
  greedy.send(read_request(1, 0, 3 * mib));
  session_rig waiting(
      {.device = {.size = 8 * mib, .answers = false}, .shared = {.memory = &budget}});
  waiting.queue.answers_in_commit = true;
  (void)waiting.offer(read_request(2, 0, 4096) + read_request(3, 0, 2 * mib));
  waiting.vanish();
  EXPECT_EQ(waiting.ended, "the client no longer accepts replies");
  EXPECT_EQ(budget.waiting(), 0U);
}

TEST(session_memory, bounds_what_a_large_write_holds) {
  memory_budget budget(64 * mib);
  session_rig rig({.device = {.size = 16 * mib, .answers = false}, .shared = {.memory = &budget}});
  const auto whole = write_request(1, 0, pattern(12 * mib));
  std::string_view rest = whole;
  for (;;) {
    const auto sent = rig.offer(rest);
    rig.settle();
    if (sent == 0) break;
    rest.remove_prefix(sent);
  }
  EXPECT_GT(rest.size(), 4 * mib) << "the device has not written anything yet";
  EXPECT_LE(budget.most_used(), 8 * mib);
  rig.queue.answers = true;
  rig.queue.answer_all();
  rig.settle();
  rig.send(rest);
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  EXPECT_TRUE(rig.stored(0, 12 * mib) == pattern(12 * mib));
}

// The device completes requests within commit(): a notification before the wait would be lost.
TEST(session_memory, continues_a_write_whose_pieces_complete_while_the_batch_is_committed) {
  session_rig rig({.device = {.size = 8192 * kib, .pages = 64}});
  const auto payload = pattern(4096 * kib);
  rig.send(write_request(1, 0, payload));
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  EXPECT_EQ(rig.device.bytes.size(), 8192U * kib);
  EXPECT_EQ(std::memcmp(rig.device.bytes.data(), payload.data(), payload.size()), 0);
}

TEST(session_memory, bounds_the_pieces_of_all_requests_of_a_connection) {
  memory_budget budget(64 * mib);
  session_rig rig(
      {.device = {.size = 16 * mib}, .terms = {.structured = true}, .shared = {.memory = &budget}});
  for (std::uint64_t i = 0; i < 6; ++i)
    (void)rig.offer(read_request(i, 0, 8 * mib));
  rig.settle();
  EXPECT_LE(budget.most_used(), 6 * mib) << "the client reads no replies";
  std::size_t ended = 0;
  for (auto some = rig.replies(); !some.empty(); some = rig.replies())
    ended += static_cast<std::size_t>(
        std::count_if(some.begin(), some.end(),
                      [](const std::string& line) { return line.find(" data ") != line.npos; }));
  EXPECT_EQ(ended, 6U);
}

TEST(session_memory, advances_the_large_requests_of_a_connection_in_turn) {
  session_rig rig({.device = {.size = 16 * mib, .answers = false}});
  for (std::uint64_t i = 0; i < 20; ++i)
    rig.send(request({nbd_command::write_zeroes, i, 0, 16 * mib}));
  EXPECT_EQ(rig.queue.waiting.size(), 16U);
  rig.queue.answer_all();
  const auto ends = rig.replies();
  ASSERT_EQ(ends.size(), 20U);
  EXPECT_EQ(ends.front(), "0 ok");
}

TEST(session_memory, releases_spare_buffers_when_a_client_is_idle) {
  memory_budget budget(64 * mib);
  session_rig rig({.device = {.size = 8 * mib},
                   .shared = {.memory = &budget},
                   .progress_limit = std::chrono::milliseconds(800)});
  rig.send_read(1, 0, 4 * mib);
  EXPECT_EQ(rig.replies(), lines{"1 data 4194304"});
  EXPECT_GT(budget.used(), 3 * mib);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (budget.used() > memory_budget::guaranteed && std::chrono::steady_clock::now() < deadline) {
    rig.context.restart();
    rig.context.run_one_until(deadline);
  }
  EXPECT_EQ(budget.used(), memory_budget::guaranteed);
}

}  // namespace
}  // namespace xenpv::nbd
