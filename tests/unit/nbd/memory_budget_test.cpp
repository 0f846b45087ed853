#include "nbd/memory_budget.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "bytes.hpp"

namespace xenpv::nbd::test {
namespace {

constexpr auto guaranteed = memory_budget::guaranteed;

struct user {
  explicit user(memory_budget& budget) : account(budget, [this] { ++granted; }) {}
  unsigned granted = 0;
  memory_account account;
};

TEST(memory_budget, counts_the_guaranteed_part_of_each_connection) {
  memory_budget budget(16 * mib);
  EXPECT_EQ(budget.used(), 0U);
  {
    const user one(budget);
    const user two(budget);
    EXPECT_EQ(budget.used(), 2 * guaranteed);
  }
  EXPECT_EQ(budget.used(), 0U);
  EXPECT_EQ(budget.most_used(), 2 * guaranteed);
  EXPECT_EQ(budget.limit(), 16 * mib);
}

TEST(memory_budget, grants_the_guaranteed_part_while_others_use_the_rest) {
  memory_budget budget(16 * mib);
  user greedy(budget);
  while (greedy.account.try_take(64 * kib)) {
  }
  user late(budget);
  EXPECT_TRUE(late.account.try_take(guaranteed));
  EXPECT_FALSE(late.account.try_take(1));
  EXPECT_LE(budget.used(), budget.limit() + guaranteed);
  late.account.give_back(4096);
  EXPECT_TRUE(late.account.try_take(4096));
}

TEST(memory_budget, leaves_an_eighth_to_small_requests) {
  memory_budget budget(16 * mib);
  user large(budget);
  std::uint64_t taken = 0;
  while (large.account.try_take(2 * mib))
    taken += 2 * mib;
  EXPECT_LE(taken, 14 * mib + guaranteed);
  user small(budget);
  EXPECT_TRUE(small.account.try_take(mib));
}

TEST(memory_budget, grants_memory_in_order_of_arrival) {
  memory_budget budget(16 * mib);
  user holder(budget);
  user first(budget);
  user second(budget);
  ASSERT_TRUE(holder.account.try_take(12 * mib));
  EXPECT_FALSE(first.account.take_or_wait(8 * mib));
  EXPECT_FALSE(second.account.take_or_wait(2 * mib)) << "would overtake the first";
  EXPECT_EQ(budget.waiting(), 2U);
  EXPECT_EQ(first.granted + second.granted, 0U);
  holder.account.give_back(12 * mib);
  EXPECT_EQ(first.granted, 1U);
  EXPECT_EQ(second.granted, 1U);
  EXPECT_TRUE(first.account.take_or_wait(8 * mib));
  EXPECT_TRUE(second.account.take_or_wait(2 * mib));
  EXPECT_EQ(budget.waiting(), 0U);
}

TEST(memory_budget, keeps_granted_memory_for_the_waiter) {
  memory_budget budget(16 * mib);
  user holder(budget);
  user waiter(budget);
  user thief(budget);
  ASSERT_TRUE(holder.account.try_take(10 * mib));
  EXPECT_FALSE(waiter.account.take_or_wait(10 * mib));
  holder.account.give_back(10 * mib);
  EXPECT_FALSE(thief.account.try_take(10 * mib));
  EXPECT_TRUE(waiter.account.take_or_wait(10 * mib));
}

TEST(memory_budget, passes_granted_memory_on_when_the_waiter_gives_up) {
  memory_budget budget(16 * mib);
  user holder(budget);
  user waiter(budget);
  user next(budget);
  ASSERT_TRUE(holder.account.try_take(10 * mib));
  EXPECT_FALSE(waiter.account.take_or_wait(10 * mib));
  EXPECT_FALSE(next.account.take_or_wait(10 * mib));
  holder.account.give_back(10 * mib);
  EXPECT_EQ(waiter.granted, 1U);
  EXPECT_EQ(next.granted, 0U);
  waiter.account.stop_waiting();
  EXPECT_EQ(next.granted, 1U);
  EXPECT_TRUE(next.account.take_or_wait(10 * mib));
}

TEST(memory_budget, ends_a_wait_when_the_connections_own_memory_suffices) {
  memory_budget budget(16 * mib);
  user holder(budget);
  user waiter(budget);
  ASSERT_TRUE(holder.account.try_take(13 * mib));
  ASSERT_TRUE(waiter.account.try_take(guaranteed));
  EXPECT_FALSE(waiter.account.take_or_wait(3 * mib));
  waiter.account.give_back(guaranteed);
  EXPECT_TRUE(waiter.account.take_or_wait(4096));
  EXPECT_EQ(budget.waiting(), 0U);
}

TEST(memory_budget, exceeds_the_limit_by_one_request_at_a_time) {
  memory_budget budget(16 * mib);
  user small(budget);
  user one(budget);
  user two(budget);
  ASSERT_TRUE(small.account.try_take(12 * mib));
  EXPECT_TRUE(one.account.try_take(64 * mib)) << "must make progress eventually";
  EXPECT_FALSE(two.account.take_or_wait(64 * mib));
  EXPECT_FALSE(small.account.try_take(mib));
  one.account.give_back(64 * mib);
  EXPECT_EQ(two.granted, 1U);
  EXPECT_TRUE(two.account.take_or_wait(64 * mib));
  EXPECT_FALSE(one.account.try_take(64 * mib));
}

TEST(memory_budget, is_used_up_to_the_limit_by_the_connections_together) {
  memory_budget budget(64 * mib);
  std::vector<std::unique_ptr<user>> users;
  for (int i = 0; i < 16; ++i)
    users.push_back(std::make_unique<user>(budget));
  for (const auto size : {8 * mib, 512 * kib, 4 * kib})
    for (bool any = true; any;) {
      any = false;
      for (auto& u : users)
        any = u->account.try_take(size) || any;
    }
  EXPECT_LE(budget.used(), budget.limit());
  EXPECT_GE(budget.used(), budget.limit() - 16 * guaranteed);
}

TEST(memory_budget, forgets_a_connection_that_ends_while_it_waits) {
  memory_budget budget(16 * mib);
  user holder(budget);
  ASSERT_TRUE(holder.account.try_take(14 * mib));
  {
    user leaving(budget);
    EXPECT_FALSE(leaving.account.take_or_wait(8 * mib));
  }
  EXPECT_EQ(budget.waiting(), 0U);
  holder.account.give_back(14 * mib);
  EXPECT_EQ(budget.used(), guaranteed);
}

TEST(memory_budget, leaves_half_to_requests_when_there_are_very_many_connections) {
  memory_budget budget(mib);
  std::vector<std::unique_ptr<user>> users;
  for (int i = 0; i < 100; ++i)
    users.push_back(std::make_unique<user>(budget));
  EXPECT_TRUE(users[0]->account.try_take(guaranteed + 256 * kib));
}

/// Random requests of accounts on several threads: the limit holds, all memory is returned, and no
/// account waits forever.
TEST(memory_budget, is_safe_to_use_on_several_threads) {
  memory_budget budget(8 * mib);
  std::atomic<unsigned> completed{0};
  const auto work = [&](unsigned seed) {
    std::atomic<bool> wake{false};
    memory_account account(budget, [&] {
      wake = true;
      wake.notify_one();
    });
    std::mt19937 random(seed);
    std::vector<std::uint64_t> held;
    for (int i = 0; i < 5000; ++i) {
      const auto size = std::uint64_t{1} << (random() % 10 + 13);
      while (!account.take_or_wait(size)) {
        if (!held.empty()) {
          account.give_back(held.back());
          held.pop_back();
          continue;
        }
        wake.wait(false);
        wake = false;
      }
      held.push_back(size);
      if (held.size() > random() % 6) {
        account.give_back(held.back());
        held.pop_back();
      }
    }
    for (const auto size : held)
      account.give_back(size);
    ++completed;
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < 4; ++i)
      threads.emplace_back(work, i);
  }
  EXPECT_EQ(completed, 4U);
  EXPECT_EQ(budget.used(), 0U);
  EXPECT_LE(budget.most_used(), budget.limit());
}

}  // namespace
}  // namespace xenpv::nbd::test
