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

TEST_F(page_waiter_test, waiters_are_woken_in_order) {
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

TEST_F(page_waiter_test, pages_are_free_when_a_waiter_is_woken) {
  std::size_t free_pages = 0;
  recording_waiter a(woken, 'a', [&] { free_pages = pool->free(); });
  pool->wait(a);
  give_back();
  EXPECT_EQ(free_pages, 1u);
}

TEST_F(page_waiter_test, waiter_is_woken_once) {
  recording_waiter a(woken, 'a');
  pool->wait(a);
  give_back();
  give_back();
  EXPECT_EQ(woken, "a");
}

TEST_F(page_waiter_test, waiting_twice_queues_once) {
  recording_waiter a(woken, 'a');
  recording_waiter b(woken, 'b');
  pool->wait(a);
  pool->wait(b);
  pool->wait(a);
  give_back();
  EXPECT_EQ(woken, "ab");
}

TEST_F(page_waiter_test, returning_an_empty_chain_wakes_nobody) {
  recording_waiter a(woken, 'a');
  pool->wait(a);
  pool->give_back({});
  EXPECT_EQ(woken, "");
  pool->stop_waiting(a);
}

TEST_F(page_waiter_test, waiter_that_waits_again_is_woken_by_the_next_pages) {
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

TEST_F(page_waiter_test, waiter_that_stopped_is_not_woken) {
  recording_waiter a(woken, 'a');
  recording_waiter b(woken, 'b');
  recording_waiter c(woken, 'c');
  for (auto* waiter : {&a, &b, &c})
    pool->wait(*waiter);
  pool->stop_waiting(b);
  EXPECT_FALSE(b.waiting);
  pool->stop_waiting(b);
  give_back();
  EXPECT_EQ(woken, "ac");
}

TEST_F(page_waiter_test, stopping_the_last_waiter_keeps_the_queue_intact) {
  recording_waiter a(woken, 'a');
  recording_waiter b(woken, 'b');
  pool->wait(a);
  pool->wait(b);
  pool->stop_waiting(b);
  pool->wait(b);
  give_back();
  EXPECT_EQ(woken, "ab");
}

TEST_F(page_waiter_test, waiter_stopped_in_the_wake_of_another_is_not_accessed) {
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

TEST_F(page_waiter_test, waiter_may_destroy_itself_in_wake) {
  std::unique_ptr<recording_waiter> a;
  recording_waiter b(woken, 'b');
  a = std::make_unique<recording_waiter>(woken, 'a', [&] { a.reset(); });
  pool->wait(*a);
  pool->wait(b);
  give_back();
  EXPECT_EQ(woken, "ab");
}

TEST_F(page_waiter_test, pages_returned_in_a_wake_reach_waiters_that_wait_again) {
  recording_waiter a(woken, 'a', [&] {
    if (pool->free() < 2) pool->wait(a);
  });
  recording_waiter b(woken, 'b', [&] { give_back(); });
  recording_waiter c(woken, 'c');
  pool->wait(a);
  pool->wait(b);
  pool->wait(c);
  give_back();
  // Waiters are woken in order, and never from within another waiter's wake().
  EXPECT_EQ(woken, "abca");
}

TEST_F(page_waiter_test, pages_returned_in_the_last_wake_reach_waiters_that_wait_again) {
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
