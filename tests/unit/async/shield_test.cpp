#include "xenpv/async/shield.hpp"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "unit/async/run_coroutine.hpp"
#include "xenpv/async/nursery.hpp"

namespace xenpv::async {
namespace {

using test::run;
using log_lines = std::vector<std::string>;

/// Takes a few turns of the context. Each is a point where a cancellation would throw.
asio::awaitable<void> take_turns() {
  asio::steady_timer turn(co_await asio::this_coro::executor);
  for (int i = 0; i < 3; ++i) {
    turn.expires_after(std::chrono::milliseconds(0));
    co_await turn.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> body_in_turns(log_lines& log) {
  log.emplace_back("begins");
  co_await take_turns();
  log.emplace_back("ends");
}

asio::awaitable<void> wait_for_ever() {
  asio::steady_timer never(co_await asio::this_coro::executor,
                           asio::steady_timer::time_point::max());
  co_await never.async_wait(asio::use_awaitable);
}

/// Spawns `child`, cancels it at its first suspension, and waits for its end.
asio::awaitable<void> cancel_at_once(asio::awaitable<void> child) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(std::move(child));
  children.cancel();
  co_await children.join();
}

TEST(shielded, runs_its_body_to_the_end_although_the_caller_is_cancelled_meanwhile) {
  asio::io_context context;
  log_lines log;
  const auto caller = [&]() -> asio::awaitable<void> {
    co_await shielded(body_in_turns(log));
    log.emplace_back("caller goes on");
  };
  run(context, cancel_at_once(caller()));
  EXPECT_EQ(log, (log_lines{"begins", "ends", "caller goes on"}));
}

TEST(shielded, lets_the_caller_see_the_cancellation_afterwards) {
  asio::io_context context;
  bool seen = false;
  log_lines log;
  const auto caller = [&]() -> asio::awaitable<void> {
    co_await shielded(body_in_turns(log));
    try {
      co_await take_turns();
    } catch (const boost::system::system_error& e) {
      seen = e.code() == asio::error::operation_aborted;
    }
  };
  run(context, cancel_at_once(caller()));
  EXPECT_TRUE(seen);
}

TEST(shielded, returns_the_result_of_a_body_whose_caller_was_cancelled) {
  asio::io_context context;
  std::unique_ptr<int> result;
  const auto body = []() -> asio::awaitable<std::unique_ptr<int>> {
    co_await take_turns();
    co_return std::make_unique<int>(42);
  };
  const auto caller = [&]() -> asio::awaitable<void> { result = co_await shielded(body()); };
  run(context, cancel_at_once(caller()));
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(*result, 42);
}

TEST(shielded, rethrows_the_exception_of_its_body) {
  asio::io_context context;
  const auto body = []() -> asio::awaitable<int> {
    co_await take_turns();
    throw std::runtime_error("the body failed");
  };
  const auto caller = [&]() -> asio::awaitable<void> {
    static_cast<void>(co_await shielded(body()));
  };
  EXPECT_THROW(run(context, cancel_at_once(caller())), std::runtime_error);
}

TEST(shielded, completes_for_a_body_that_never_suspends) {
  asio::io_context context;
  int runs = 0;
  const auto body = [&]() -> asio::awaitable<void> {
    ++runs;
    co_return;
  };
  const auto caller = [&]() -> asio::awaitable<void> {
    co_await shielded(body());
    ++runs;
  };
  run(context, cancel_at_once(caller()));
  EXPECT_EQ(runs, 2);
}

TEST(clean_up_on_failure, cleans_up_in_full_after_a_body_that_was_cancelled) {
  asio::io_context context;
  log_lines log;
  const auto caller = [&]() -> asio::awaitable<void> {
    try {
      co_await clean_up_on_failure(wait_for_ever(), [&] { return body_in_turns(log); });
    } catch (const boost::system::system_error& e) {
      log.push_back(e.code() == asio::error::operation_aborted ? "aborted" : e.what());
    }
    log.emplace_back(co_await asio::this_coro::throw_if_cancelled() ? "throws" : "does not throw");
  };
  run(context, cancel_at_once(caller()));
  EXPECT_EQ(log, (log_lines{"begins", "ends", "aborted", "throws"}));
}

TEST(clean_up_on_failure, rethrows_the_error_of_a_body_that_failed) {
  asio::io_context context;
  log_lines log;
  const auto body = []() -> asio::awaitable<int> {
    co_await take_turns();
    throw std::runtime_error("the body failed");
  };
  const auto caller = [&]() -> asio::awaitable<void> {
    static_cast<void>(co_await clean_up_on_failure(body(), [&] { return body_in_turns(log); }));
  };
  EXPECT_THROW(run(context, caller()), std::runtime_error);
  EXPECT_EQ(log, (log_lines{"begins", "ends"}));
}

TEST(clean_up_on_failure, does_not_clean_up_after_success) {
  asio::io_context context;
  log_lines log;
  int result = 0;
  const auto body = []() -> asio::awaitable<int> {
    co_await take_turns();
    co_return 42;
  };
  const auto caller = [&]() -> asio::awaitable<void> {
    result = co_await clean_up_on_failure(body(), [&] { return body_in_turns(log); });
  };
  run(context, caller());
  EXPECT_EQ(result, 42);
  EXPECT_TRUE(log.empty());
}

TEST(shielded, does_not_start_for_a_caller_that_is_already_cancelled) {
  asio::io_context context;
  log_lines log;
  bool cancelled = false;
  const auto caller = [&]() -> asio::awaitable<void> {
    co_await asio::this_coro::throw_if_cancelled(false);
    try {
      co_await wait_for_ever();
    } catch (const boost::system::system_error&) {
      cancelled = true;
    }
    co_await asio::this_coro::throw_if_cancelled(true);
    co_await shielded(body_in_turns(log));
  };
  // A nursery that is being cancelled treats operation_aborted as an orderly end.
  run(context, cancel_at_once(caller()));
  EXPECT_TRUE(cancelled);
  EXPECT_TRUE(log.empty());
}

}  // namespace
}  // namespace xenpv::async
