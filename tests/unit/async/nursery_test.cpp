#include "async/nursery.hpp"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "unit/async/run_coroutine.hpp"

namespace xenpv::async {
namespace {

using test::run;

/// Waits until it is cancelled, then logs the error.
asio::awaitable<void> sleep_for_ever(std::vector<std::string>& log, std::string name) {
  asio::steady_timer never(co_await asio::this_coro::executor,
                           asio::steady_timer::time_point::max());
  log.push_back(name + " starts");
  try {
    co_await never.async_wait(asio::use_awaitable);
  } catch (const boost::system::system_error& e) {
    log.push_back(name + " ends: " + e.code().message());
    throw;
  }
}

asio::awaitable<void> note(std::vector<std::string>& log, std::string text) {
  log.push_back(std::move(text));
  co_return;
}

asio::awaitable<void> fail(std::string text) {
  throw std::runtime_error(text);
  co_return;
}

/// Suspends a few times and ignores cancellation.
asio::awaitable<void> be_stubborn(std::vector<std::string>& log) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  asio::steady_timer turn(co_await asio::this_coro::executor);
  for (int i = 0; i < 3; ++i) {
    turn.expires_after(std::chrono::milliseconds(1));
    co_await turn.async_wait(asio::use_awaitable);
  }
  log.push_back("stubborn ends");
}

class nursery_test : public ::testing::Test {
 protected:
  asio::io_context context{1};
  std::vector<std::string> log;
};

asio::awaitable<void> join_two(std::vector<std::string>& log) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(note(log, "a"));
  children.spawn(note(log, "b"));
  EXPECT_EQ(children.size(), 2u);
  co_await children.join();
  EXPECT_EQ(children.size(), 0u);
  log.push_back("joined");
}

TEST_F(nursery_test, join_returns_when_all_children_ended) {
  run(context, join_two(log));
  EXPECT_EQ(log, (std::vector<std::string>{"a", "b", "joined"}));
}

asio::awaitable<void> join_nothing() {
  nursery children(co_await asio::this_coro::executor);
  co_await children.join();
}

TEST_F(nursery_test, join_without_children_returns_immediately) {
  run(context, join_nothing());
}

asio::awaitable<void> cancel_all(std::vector<std::string>& log) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(sleep_for_ever(log, "a"));
  children.spawn(sleep_for_ever(log, "b"));
  children.cancel();
  co_await children.join();
}

TEST_F(nursery_test, cancel_ends_all_children_and_is_not_an_error) {
  run(context, cancel_all(log));
  EXPECT_EQ(log, (std::vector<std::string>{"a starts", "b starts", "a ends: Operation canceled",
                                           "b ends: Operation canceled"}));
}

asio::awaitable<void> fail_among_siblings(std::vector<std::string>& log) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(sleep_for_ever(log, "sibling"));
  children.spawn(fail("the first"));
  children.spawn(fail("the second"));
  std::string caught;
  try {
    co_await children.join();
  } catch (const std::runtime_error& e) {
    caught = e.what();
  }
  log.push_back(caught);
  // The error has been reported; the nursery can be reused.
  children.spawn(note(log, "again"));
  co_await children.join();
}

TEST_F(nursery_test, first_failure_cancels_the_siblings_and_is_rethrown_by_join) {
  run(context, fail_among_siblings(log));
  EXPECT_EQ(log, (std::vector<std::string>{"sibling starts", "sibling ends: Operation canceled",
                                           "the first", "again"}));
}

asio::awaitable<void> spawn_later(nursery& children, std::vector<std::string>& log) {
  asio::steady_timer turn(co_await asio::this_coro::executor, std::chrono::milliseconds(1));
  co_await turn.async_wait(asio::use_awaitable);
  children.spawn(be_stubborn(log));
}

asio::awaitable<void> spawn_during_join(std::vector<std::string>& log) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(spawn_later(children, log));
  co_await children.join();
  log.push_back("joined");
}

TEST_F(nursery_test, join_waits_for_children_spawned_while_it_waits) {
  run(context, spawn_during_join(log));
  EXPECT_EQ(log, (std::vector<std::string>{"stubborn ends", "joined"}));
}

asio::awaitable<void> cancel_the_stubborn(std::vector<std::string>& log) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(be_stubborn(log));
  children.cancel();
  co_await children.join();
  log.push_back("joined");
}

TEST_F(nursery_test, join_waits_for_a_child_that_ignores_cancellation) {
  run(context, cancel_the_stubborn(log));
  EXPECT_EQ(log, (std::vector<std::string>{"stubborn ends", "joined"}));
}

TEST_F(nursery_test, cancel_reaches_a_child_that_has_not_started) {
  nursery children(context.get_executor());
  children.spawn(sleep_for_ever(log, "late"));
  EXPECT_TRUE(log.empty());
  children.cancel();
  test::run_until_dry(context);
  EXPECT_EQ(log, (std::vector<std::string>{"late starts", "late ends: Operation canceled"}));
}

asio::awaitable<void> spawn_after_cancel(std::vector<std::string>& log) {
  nursery children(co_await asio::this_coro::executor);
  children.cancel();
  children.spawn(sleep_for_ever(log, "new"));
  co_await children.join();
}

TEST_F(nursery_test, child_spawned_after_cancel_is_cancelled_where_it_suspends) {
  run(context, spawn_after_cancel(log));
  EXPECT_EQ(log, (std::vector<std::string>{"new starts", "new ends: Operation canceled"}));
}

asio::awaitable<void> cancel_own_nursery(nursery& parent) {
  parent.cancel();
  co_return;
}

asio::awaitable<void> child_cancels_its_nursery() {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(cancel_own_nursery(children));
  co_await children.join();
}

// Asio 1.26 loses the completion of such a coroutine unless it is wrapped (async/shield.hpp).
TEST_F(nursery_test, child_that_cancels_its_own_nursery_without_suspending_is_joined) {
  run(context, child_cancels_its_nursery());
}

asio::awaitable<void> fail_own_nursery(nursery& parent) {
  parent.cancel();
  throw std::runtime_error("own");
  co_return;
}

asio::awaitable<void> child_cancels_and_fails() {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(fail_own_nursery(children));
  co_await children.join();
}

TEST_F(nursery_test, failure_of_a_cancelled_child_is_reported) {
  EXPECT_THROW(run(context, child_cancels_and_fails()), std::runtime_error);
}

asio::awaitable<void> join_inner(std::vector<std::string>& log) {
  nursery inner(co_await asio::this_coro::executor);
  inner.spawn(sleep_for_ever(log, "inner"));
  inner.spawn(be_stubborn(log));
  co_await inner.join();
  log.push_back("inner joined");
}

asio::awaitable<void> cancel_from_outside(std::vector<std::string>& log) {
  nursery outer(co_await asio::this_coro::executor);
  outer.spawn(join_inner(log));
  outer.cancel();
  co_await outer.join();
}

TEST_F(nursery_test, cancelled_join_cancels_the_children_and_still_waits_for_them) {
  run(context, cancel_from_outside(log));
  EXPECT_EQ(log, (std::vector<std::string>{"inner starts", "inner ends: Operation canceled",
                                           "stubborn ends", "inner joined"}));
}

TEST(nursery_death_test, destroying_a_nursery_with_children_terminates_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        asio::io_context context(1);
        std::vector<std::string> log;
        nursery children(context.get_executor());
        children.spawn(sleep_for_ever(log, "a"));
      },
      "a nursery was destroyed with 1 children alive; join it first");
}

}  // namespace
}  // namespace xenpv::async
