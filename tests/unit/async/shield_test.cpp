#include "xenpv/async/shield.hpp"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "async/nursery.hpp"
#include "unit/async/run_coroutine.hpp"

namespace xenpv::async {
namespace {

using test::run;
using log_lines = std::vector<std::string>;

/// Suspends a few times; a cancellation would throw at each suspension.
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

/// Spawns `child`, cancels it at its first suspension, and waits for it to end.
asio::awaitable<void> cancel_at_once(asio::awaitable<void> child) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(std::move(child));
  children.cancel();
  co_await children.join();
}

TEST(shielded, runs_its_body_to_completion_even_if_the_caller_is_cancelled) {
  asio::io_context context;
  log_lines log;
  const auto caller = [&]() -> asio::awaitable<void> {
    co_await shielded(body_in_turns(log));
    log.emplace_back("caller continues");
  };
  run(context, cancel_at_once(caller()));
  EXPECT_EQ(log, (log_lines{"begins", "ends", "caller continues"}));
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

TEST(clean_up_on_failure, cleans_up_completely_after_a_cancelled_body) {
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

TEST(clean_up_on_failure, rethrows_the_error_of_a_failed_body) {
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

TEST(clean_up_on_failure, throws_on_cancellation_again_after_a_failed_clean_up) {
  asio::io_context context;
  log_lines log;
  const auto clean_up = []() -> asio::awaitable<void> {
    co_await take_turns();
    throw std::runtime_error("the clean-up failed");
  };
  const auto caller = [&]() -> asio::awaitable<void> {
    try {
      co_await clean_up_on_failure(wait_for_ever(), clean_up);
    } catch (const std::runtime_error& e) {
      log.emplace_back(e.what());
    }
    log.emplace_back(co_await asio::this_coro::throw_if_cancelled() ? "throws" : "does not throw");
  };
  run(context, cancel_at_once(caller()));
  EXPECT_EQ(log, (log_lines{"the clean-up failed", "throws"}));
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

TEST(finally, cleans_up_after_success_and_returns_the_result) {
  asio::io_context context;
  log_lines log;
  int result = 0;
  const auto body = [&]() -> asio::awaitable<int> {
    co_await take_turns();
    log.emplace_back("body");
    co_return 42;
  };
  const auto caller = [&]() -> asio::awaitable<void> {
    result = co_await finally(body(), [&] { return body_in_turns(log); });
  };
  run(context, caller());
  EXPECT_EQ(result, 42);
  EXPECT_EQ(log, (log_lines{"body", "begins", "ends"}));
}

TEST(finally, cleans_up_completely_after_a_cancelled_body) {
  asio::io_context context;
  log_lines log;
  const auto caller = [&]() -> asio::awaitable<void> {
    try {
      co_await finally(wait_for_ever(), [&] { return body_in_turns(log); });
    } catch (const boost::system::system_error& e) {
      log.push_back(e.code() == asio::error::operation_aborted ? "aborted" : e.what());
    }
    log.emplace_back(co_await asio::this_coro::throw_if_cancelled() ? "throws" : "does not throw");
  };
  run(context, cancel_at_once(caller()));
  EXPECT_EQ(log, (log_lines{"begins", "ends", "aborted", "throws"}));
}

TEST(finally, cleans_up_completely_even_if_the_caller_is_cancelled) {
  asio::io_context context;
  log_lines log;
  const auto body = []() -> asio::awaitable<void> { co_return; };
  const auto caller = [&]() -> asio::awaitable<void> {
    co_await finally(body(), [&] { return body_in_turns(log); });
    log.emplace_back("caller continues");
  };
  run(context, cancel_at_once(caller()));
  EXPECT_EQ(log, (log_lines{"begins", "ends", "caller continues"}));
}

/// Returns the error message of finally() whose body and clean-up throw these errors; an empty text
/// stands for success. Also checks that the clean-up ran.
std::string error_of_finally(const std::string& body_error, const std::string& clean_up_error) {
  asio::io_context context;
  bool cleaned_up = false;
  const auto fail = [](const std::string& text) -> asio::awaitable<void> {
    co_await take_turns();
    if (!text.empty()) throw std::runtime_error(text);
  };
  const std::function<asio::awaitable<void>()> clean_up = [&] {
    cleaned_up = true;
    return fail(clean_up_error);
  };
  std::string error;
  try {
    run(context, finally(fail(body_error), clean_up));
  } catch (const std::runtime_error& e) {
    error = e.what();
  }
  EXPECT_TRUE(cleaned_up);
  return error;
}

TEST(finally, rethrows_the_error_of_the_body_or_else_of_the_clean_up) {
  EXPECT_EQ(error_of_finally("", ""), "");
  EXPECT_EQ(error_of_finally("body", ""), "body");
  EXPECT_EQ(error_of_finally("", "clean-up"), "clean-up");
  EXPECT_EQ(error_of_finally("body", "clean-up"), "body");
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
