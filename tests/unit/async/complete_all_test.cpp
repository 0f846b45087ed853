#include "async/complete_all.hpp"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "async/nursery.hpp"
#include "unit/async/run_coroutine.hpp"

namespace xenpv::async {
namespace {

using lines = std::vector<std::string>;

asio::awaitable<void> finish_later(lines& log, std::string name) {
  asio::steady_timer turn(co_await asio::this_coro::executor);
  for (int i = 0; i < 3; ++i) {
    turn.expires_after(std::chrono::milliseconds(0));
    co_await turn.async_wait(asio::use_awaitable);
  }
  log.push_back(std::move(name));
}

asio::awaitable<void> throw_error(std::string text) {
  throw std::runtime_error(text);
  co_return;
}

asio::awaitable<void> throw_later(lines& log, std::string text) {
  co_await finish_later(log, text);
  throw std::runtime_error(text);
}

TEST(complete_all, completes_the_others_if_one_fails) {
  asio::io_context context{1};
  lines log;
  std::vector<asio::awaitable<void>> bodies;
  bodies.push_back(finish_later(log, "before"));
  bodies.push_back(throw_error("broken"));
  bodies.push_back(finish_later(log, "after"));
  try {
    test::run(context, complete_all(std::move(bodies)));
    ADD_FAILURE() << "the exception is lost";
  } catch (const std::runtime_error& problem) {
    EXPECT_STREQ(problem.what(), "broken");
  }
  EXPECT_EQ(log, (lines{"before", "after"}));
}

TEST(complete_all, rethrows_the_first_of_several_exceptions) {
  asio::io_context context{1};
  lines log;
  std::vector<asio::awaitable<void>> bodies;
  bodies.push_back(throw_later(log, "second"));
  bodies.push_back(throw_error("first"));
  try {
    test::run(context, complete_all(std::move(bodies)));
    ADD_FAILURE() << "the exceptions are lost";
  } catch (const std::runtime_error& problem) {
    EXPECT_STREQ(problem.what(), "first");
  }
  EXPECT_EQ(log, lines{"second"});
}

TEST(complete_all, completes_all_if_the_caller_is_cancelled) {
  asio::io_context context{1};
  lines log;
  auto cancelled = [&]() -> asio::awaitable<void> {
    std::vector<asio::awaitable<void>> bodies;
    bodies.push_back(finish_later(log, "first"));
    bodies.push_back(finish_later(log, "second"));
    co_await complete_all(std::move(bodies));
    log.emplace_back("all");
  };
  auto cancel_at_once = [&]() -> asio::awaitable<void> {
    nursery caller(co_await asio::this_coro::executor);
    caller.spawn(cancelled());
    caller.cancel();
    co_await caller.join();
  };
  test::run(context, cancel_at_once());
  EXPECT_EQ(log, (lines{"first", "second", "all"}));
}

TEST(complete_all, returns_at_once_without_bodies) {
  asio::io_context context{1};
  EXPECT_NO_THROW(test::run(context, complete_all({})));
}

}  // namespace
}  // namespace xenpv::async
