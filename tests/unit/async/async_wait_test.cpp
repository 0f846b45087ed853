// bound_port::async_wait() with Asio's completion tokens.
#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "unit/async/fake_evtchn.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace {

using test::device;
using test::run_until_dry;

class async_wait_test : public ::testing::Test {
 protected:
  ~async_wait_test() override { device.clear(); }

  /// Runs the ready handlers. The event loop's read stays pending.
  void turn() { context.poll(); }
  static void send_event(const bound_port& port) { device.raise(raw(port.number())); }
  /// Returns a handler that appends its error code to `codes`.
  auto record() {
    return [this](boost::system::error_code code) { codes.push_back(code); };
  }

  asio::io_context context{1};
  std::vector<boost::system::error_code> codes;
};

bool has_result(const std::future<void>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

TEST_F(async_wait_test, calls_the_handler_when_an_event_arrives) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  port.async_wait(record());
  turn();
  EXPECT_TRUE(codes.empty());
  send_event(port);
  turn();
  ASSERT_EQ(codes.size(), 1u);
  EXPECT_FALSE(codes[0]);
  EXPECT_TRUE(device.is_masked(raw(port.number())));
  port.async_wait(record());
  EXPECT_FALSE(device.is_masked(raw(port.number()))) << "the next wait unmasks";
}

TEST_F(async_wait_test, never_calls_the_handler_within_the_initiating_function) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  send_event(port);
  turn();
  port.async_wait(record());
  EXPECT_TRUE(codes.empty());
  turn();
  ASSERT_EQ(codes.size(), 1u);
  EXPECT_FALSE(codes[0]);
}

TEST_F(async_wait_test, calls_the_handler_without_queueing_it) {
  event_loop loop(context);
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  std::string order;
  first.async_wait([&](boost::system::error_code) { order += "wait "; });
  second.on_event([&] { order += "callback"; });
  send_event(first);
  send_event(second);
  turn();
  EXPECT_EQ(order, "wait callback") << "both events are in one batch";
}

TEST_F(async_wait_test, future_becomes_ready_with_the_event) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  auto event = port.async_wait(asio::use_future);
  turn();
  EXPECT_FALSE(has_result(event));
  send_event(port);
  turn();
  ASSERT_TRUE(has_result(event));
  EXPECT_NO_THROW(event.get());
}

TEST_F(async_wait_test, future_holds_the_error_of_a_resume) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  auto event = port.async_wait(asio::use_future);
  loop.resumed();
  turn();
  ASSERT_TRUE(has_result(event));
  try {
    event.get();
    FAIL();
  } catch (const boost::system::system_error& e) {
    EXPECT_TRUE(e.code() == errc::resumed) << e.what();
  }
}

asio::awaitable<void> wait_as_tuple(bound_port& port,
                                    std::optional<boost::system::error_code>& result) {
  const auto [code] = co_await port.async_wait(asio::as_tuple(asio::use_awaitable));
  result = code;
}

TEST_F(async_wait_test, as_tuple_returns_the_error_when_the_loop_is_closed) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  std::optional<boost::system::error_code> result;
  asio::co_spawn(context, wait_as_tuple(port, result), [](const std::exception_ptr&) {});
  turn();
  EXPECT_FALSE(result.has_value());
  loop.close();
  run_until_dry(context);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(*result, asio::error::operation_aborted);
}

TEST_F(async_wait_test, reports_errors_through_the_handler) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  port.async_wait(record());
  port.async_wait(record());
  EXPECT_TRUE(codes.empty());
  turn();
  ASSERT_EQ(codes.size(), 1u);
  EXPECT_TRUE(codes[0] == errc::invalid_argument) << "the second waiter is refused";
  loop.resumed();
  port.async_wait(record());
  turn();
  ASSERT_EQ(codes.size(), 3u);
  EXPECT_TRUE(codes[1] == errc::resumed);
  EXPECT_TRUE(codes[2] == errc::resumed) << "the port is dead";
}

TEST_F(async_wait_test, throws_for_a_port_that_is_not_bound) {
  bound_port none;
  EXPECT_THROW(none.async_wait(record()), failure);
  EXPECT_THROW(static_cast<void>(none.get_executor()), failure);
}

TEST_F(async_wait_test, every_cancellation_type_ends_the_wait_and_keeps_the_event) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                          asio::cancellation_type::total}) {
    codes.clear();
    asio::cancellation_signal cancel;
    port.async_wait(asio::bind_cancellation_slot(cancel.slot(), record()));
    turn();
    cancel.emit(type);
    EXPECT_TRUE(codes.empty()) << "never called within emit()";
    send_event(port);
    turn();
    ASSERT_EQ(codes.size(), 1u);
    EXPECT_EQ(codes[0], asio::error::operation_aborted);
    port.async_wait(record());
    turn();
    ASSERT_EQ(codes.size(), 2u);
    EXPECT_FALSE(codes[1]);
  }
}

TEST_F(async_wait_test, late_cancellation_does_not_affect_the_next_wait) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  asio::cancellation_signal cancel;
  port.async_wait(asio::bind_cancellation_slot(cancel.slot(), record()));
  send_event(port);
  turn();
  EXPECT_EQ(codes.size(), 1u);
  port.async_wait(record());
  cancel.emit(asio::cancellation_type::total);
  turn();
  EXPECT_EQ(codes.size(), 1u);
}

TEST_F(async_wait_test, parallel_group_cancels_the_other_wait_and_its_event_is_kept) {
  event_loop loop(context);
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  std::array<std::size_t, 2> order{};
  const auto finish = [&](std::array<std::size_t, 2> finished, boost::system::error_code one,
                          boost::system::error_code two) {
    order = finished;
    codes = {one, two};
  };
  auto group = asio::experimental::make_parallel_group(first.async_wait(asio::deferred),
                                                       second.async_wait(asio::deferred));
  group.async_wait(asio::experimental::wait_for_one(), finish);
  turn();
  EXPECT_TRUE(codes.empty());
  send_event(second);
  turn();
  ASSERT_EQ(codes.size(), 2u);
  EXPECT_EQ(order[0], 1u);
  EXPECT_EQ(codes[0], asio::error::operation_aborted);
  EXPECT_FALSE(codes[1]);
  send_event(first);
  turn();
  first.async_wait(record());
  turn();
  ASSERT_EQ(codes.size(), 3u);
  EXPECT_FALSE(codes[2]);
}

TEST_F(async_wait_test, parallel_group_loses_no_event_of_the_same_batch) {
  event_loop loop(context);
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  const auto finish = [&](std::array<std::size_t, 2>, boost::system::error_code one,
                          boost::system::error_code two) {
    codes = {one, two};
  };
  auto group = asio::experimental::make_parallel_group(first.async_wait(asio::deferred),
                                                       second.async_wait(asio::deferred));
  group.async_wait(asio::experimental::wait_for_one(), finish);
  send_event(first);
  send_event(second);
  turn();
  ASSERT_EQ(codes.size(), 2u);
  EXPECT_FALSE(codes[0]);
  EXPECT_EQ(codes[1], asio::error::operation_aborted);
  second.async_wait(record());
  turn();
  ASSERT_EQ(codes.size(), 3u);
  EXPECT_FALSE(codes[2]);
}

TEST_F(async_wait_test, completes_on_the_associated_executor) {
  asio::io_context other(1);
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  port.async_wait(asio::bind_executor(other.get_executor(), record()));
  other.poll();
  EXPECT_FALSE(other.stopped()) << "a pending wait keeps the context running";
  send_event(port);
  turn();
  EXPECT_TRUE(codes.empty());
  other.poll();
  ASSERT_EQ(codes.size(), 1u);
  EXPECT_FALSE(codes[0]);
  EXPECT_TRUE(other.stopped());
}

template <class T>
struct counting_allocator {
  using value_type = T;

  explicit counting_allocator(int& allocations) noexcept : count(&allocations) {}
  template <class U>
  counting_allocator(const counting_allocator<U>& other) noexcept : count(other.count) {}

  [[nodiscard]] T* allocate(std::size_t n) const {
    ++*count;
    return std::allocator<T>().allocate(n);
  }
  void deallocate(T* memory, std::size_t n) const noexcept {
    std::allocator<T>().deallocate(memory, n);
  }
  template <class U>
  friend bool operator==(const counting_allocator& a, const counting_allocator<U>& b) noexcept {
    return a.count == b.count;
  }

  int* count;
};

TEST_F(async_wait_test, allocates_with_the_associated_allocator) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  int allocations = 0;
  port.async_wait(asio::bind_allocator(counting_allocator<void>(allocations), record()));
  EXPECT_GT(allocations, 0);
  send_event(port);
  turn();
  EXPECT_EQ(codes.size(), 1u);
}

TEST_F(async_wait_test, loop_and_port_have_the_executor_of_the_context) {
  event_loop loop(context);
  const auto port = loop.bind_unbound(domid_0);
  EXPECT_TRUE(loop.get_executor() == context.get_executor());
  EXPECT_TRUE(port.get_executor() == context.get_executor());
}

}  // namespace
}  // namespace xenpv::async
