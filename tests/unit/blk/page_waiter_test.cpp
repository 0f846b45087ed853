#include <gtest/gtest.h>

#include "unit/blk/pool_memory.hpp"

namespace xenpv::blk {
namespace {

using test::recording_waiter;

class page_waiter_test : public ::testing::Test {
 protected:
  void give_back() { pool->give_back(pool->split(taken, 1)); }

  std::shared_ptr<page_pool> pool = test::make_pool(4);
  page_chain taken = *pool->take(4);
  std::string woken;
};

TEST_F(page_waiter_test, those_who_wait_are_woken_in_the_order_they_came) {
  recording_waiter a(woken, 'a');
  recording_waiter b(woken, 'b');
  recording_waiter c(woken, 'c');
  pool->wait(b);
  pool->wait(a);
  pool->wait(c);
  EXPECT_TRUE(a.waiting);
  EXPECT_EQ(woken, "");
  give_back();
  EXPECT_EQ(woken, "bac");
  EXPECT_FALSE(a.waiting);
}

TEST_F(page_waiter_test, pages_are_there_when_it_is_woken) {
  std::size_t found = 0;
  recording_waiter a(woken, 'a', [&] { found = pool->free(); });
  pool->wait(a);
  give_back();
  EXPECT_EQ(found, 1u);
}

TEST_F(page_waiter_test, is_woken_once) {
  recording_waiter a(woken, 'a');
  pool->wait(a);
  give_back();
  give_back();
  EXPECT_EQ(woken, "a");
}

TEST_F(page_waiter_test, waits_once_however_often_it_asks) {
  recording_waiter a(woken, 'a');
  recording_waiter b(woken, 'b');
  pool->wait(a);
  pool->wait(b);
  pool->wait(a);
  give_back();
  EXPECT_EQ(woken, "ab");
}

TEST_F(page_waiter_test, nothing_given_back_wakes_nobody) {
  recording_waiter a(woken, 'a');
  pool->wait(a);
  pool->give_back({});
  EXPECT_EQ(woken, "");
  pool->stop_waiting(a);
}

TEST_F(page_waiter_test, one_that_waits_again_is_woken_by_the_next_pages_behind_the_others) {
  recording_waiter a(woken, 'a', [&] {
    if (pool->free() < 2) pool->wait(a);
  });
  recording_waiter b(woken, 'b', [&] {
    if (pool->free() < 2) pool->wait(b);
  });
  recording_waiter c(woken, 'c');
  pool->wait(a);
  pool->wait(b);
  give_back();
  EXPECT_EQ(woken, "ab");
  pool->wait(c);
  give_back();
  EXPECT_EQ(woken, "ababc");
  EXPECT_FALSE(a.waiting);
}

TEST_F(page_waiter_test, one_that_stopped_is_not_woken) {
  recording_waiter a(woken, 'a');
  recording_waiter b(woken, 'b');
  recording_waiter c(woken, 'c');
  for (auto* each : {&a, &b, &c})
    pool->wait(*each);
  pool->stop_waiting(b);
  EXPECT_FALSE(b.waiting);
  pool->stop_waiting(b);
  give_back();
  EXPECT_EQ(woken, "ac");
}

TEST_F(page_waiter_test, stopping_the_last_leaves_room_for_others) {
  recording_waiter a(woken, 'a');
  recording_waiter b(woken, 'b');
  pool->wait(a);
  pool->wait(b);
  pool->stop_waiting(b);
  pool->wait(b);
  give_back();
  EXPECT_EQ(woken, "ab");
}

TEST_F(page_waiter_test, one_that_another_stops_while_both_are_woken_is_not_touched_any_more) {
  auto b = std::make_unique<recording_waiter>(woken, 'b');
  recording_waiter a(woken, 'a', [&] {
    pool->stop_waiting(*b);
    b.reset();
  });
  recording_waiter c(woken, 'c');
  pool->wait(a);
  pool->wait(*b);
  pool->wait(c);
  give_back();
  EXPECT_EQ(woken, "ac");
}

TEST_F(page_waiter_test, one_may_end_itself_when_it_is_woken) {
  std::unique_ptr<recording_waiter> a;
  recording_waiter b(woken, 'b');
  a = std::make_unique<recording_waiter>(woken, 'a', [&] { a.reset(); });
  pool->wait(*a);
  pool->wait(b);
  give_back();
  EXPECT_EQ(woken, "ab");
}

TEST_F(page_waiter_test, pages_given_back_by_one_that_was_woken_reach_those_that_wait_again) {
  recording_waiter a(woken, 'a', [&] {
    if (pool->free() < 2) pool->wait(a);
  });
  recording_waiter b(woken, 'b', [&] { give_back(); });
  recording_waiter c(woken, 'c');
  pool->wait(a);
  pool->wait(b);
  pool->wait(c);
  give_back();
  // In their order, and none from within another's wake().
  EXPECT_EQ(woken, "abca");
}

TEST_F(page_waiter_test, pages_given_back_by_the_last_that_was_woken_reach_those_that_wait_again) {
  recording_waiter a(woken, 'a', [&] {
    if (pool->free() < 2) pool->wait(a);
  });
  recording_waiter b(woken, 'b', [&] { give_back(); });
  pool->wait(a);
  pool->wait(b);
  give_back();
  EXPECT_EQ(woken, "aba");
}

}  // namespace
}  // namespace xenpv::blk
