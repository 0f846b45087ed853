#include "xenpv/async/deadline.hpp"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <memory>
#include <stdexcept>
#include <string>

#include "async/nursery.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace {

using namespace std::chrono_literals;
using test::run;

// No default constructor: a result type only has to be movable.
struct answer {
  explicit answer(int given) : value(std::make_unique<int>(given)) {}
  std::unique_ptr<int> value;
};

asio::awaitable<answer> answer_at_once() {
  co_return answer(42);
}

asio::awaitable<void> sleep_for_ever() {
  asio::steady_timer never(co_await asio::this_coro::executor,
                           asio::steady_timer::time_point::max());
  co_await never.async_wait(asio::use_awaitable);
}

asio::awaitable<answer> answer_too_late() {
  co_await sleep_for_ever();
  co_return answer(0);
}

/// Returns an answer even if it is cancelled.
asio::awaitable<answer> answer_when_cancelled() {
  try {
    co_await sleep_for_ever();
  } catch (const boost::system::system_error&) {
  }
  co_return answer(7);
}

asio::awaitable<void> fail() {
  throw std::runtime_error("its own");
  co_return;
}

asio::awaitable<void> fail_when_cancelled() {
  bool cancelled = false;
  try {
    co_await sleep_for_ever();
  } catch (const boost::system::system_error&) {
    cancelled = true;
  }
  if (cancelled) throw std::runtime_error("its own");
}

asio::awaitable<void> expect_answer(asio::awaitable<answer> operation,
                                    std::chrono::steady_clock::duration limit, int value) {
  const auto got = co_await with_deadline(std::move(operation), limit, "await the answer");
  EXPECT_EQ(*got.value, value);
}

TEST(deadline, returns_the_result_of_an_operation_in_time) {
  asio::io_context context(1);
  const auto before = std::chrono::steady_clock::now();
  run(context, expect_answer(answer_at_once(), 1h, 42));
  EXPECT_LT(std::chrono::steady_clock::now() - before, 1min) << "the timer must be cancelled";
}

TEST(deadline, throws_timed_out_and_names_the_operation) {
  asio::io_context context(1);
  try {
    run(context, expect_answer(answer_too_late(), 2ms, 0));
    FAIL();
  } catch (const failure& e) {
    EXPECT_EQ(e.code(), errc::timed_out);
    EXPECT_STREQ(e.what(), "await the answer: timed out (waited 2.00 ms)");
  }
}

TEST(deadline, keeps_a_result_that_arrives_with_the_cancellation) {
  asio::io_context context(1);
  run(context, expect_answer(answer_when_cancelled(), 1ms, 7));
}

TEST(deadline, rethrows_other_errors_of_the_operation) {
  asio::io_context context(1);
  EXPECT_THROW(run(context, with_deadline(fail(), 1h, "x")), std::runtime_error);
  EXPECT_THROW(run(context, with_deadline(fail_when_cancelled(), 1ms, "x")), std::runtime_error);
}

asio::awaitable<void> note_end(asio::awaitable<void> operation, std::string& end) {
  try {
    co_await std::move(operation);
    end = "no error";
  } catch (const failure& e) {
    end = e.what();
  } catch (const boost::system::system_error& e) {
    end = e.code().message();
  }
}

asio::awaitable<void> cancel_at_once(std::string& end) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(note_end(with_deadline(sleep_for_ever(), 1h, "x"), end));
  children.cancel();
  co_await children.join();
}

TEST(deadline, cancellation_by_the_caller_is_not_a_time_out) {
  asio::io_context context(1);
  std::string end;
  run(context, cancel_at_once(end));
  EXPECT_EQ(end, "Operation canceled");
}

TEST(deadline, a_limit_of_zero_still_starts_the_operation) {
  asio::io_context context(1);
  run(context, expect_answer(answer_when_cancelled(), 0s, 7));
}

}  // namespace
}  // namespace xenpv::async
