// Runs a blocking function (call_on) or a coroutine (run_on) on another thread's executor and
// returns the result to the caller.
//
// Plain co_spawn with use_awaitable does not work here: Asio 1.26 keeps the child's cancellation
// state in the caller's slot, and two threads would access it. The threads share only the
// completion handler, which is moved from one to the other.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/shield.hpp"

namespace xenpv::async {

/// Returns a copy of `executor` that counts as outstanding work and thus keeps its context running.
inline asio::any_io_executor keep_running(const asio::any_io_executor& executor) {
  return asio::prefer(executor, asio::execution::outstanding_work.tracked);
}

namespace detail {

// Returns std::monostate for void because std::optional<void> is ill-formed.
template <class Function>
auto invoke_for_value(Function& function) {
  if constexpr (std::is_void_v<std::invoke_result_t<Function&>>) {
    function();
    return std::monostate{};
  } else {
    return function();
  }
}

template <class Handler, class Value>
struct returned_call {
  Handler handler;
  std::exception_ptr error;
  std::optional<Value> value;
  void operator()() { std::move(handler)(std::move(error), std::move(value)); }
};

template <class Function, class Value>
struct start_call {
  asio::any_io_executor executor;
  Function function;

  template <class Handler>
  void operator()(Handler&& handler) {
    auto home = keep_running(asio::get_associated_executor(handler));
    asio::post(executor, [home = std::move(home), function = std::move(function),
                          handler = std::forward<Handler>(handler)]() mutable {
      std::exception_ptr error;
      std::optional<Value> value;
      try {
        value.emplace(invoke_for_value(function));
      } catch (...) {
        error = std::current_exception();
      }
      asio::post(home, returned_call<std::decay_t<Handler>, Value>{
                           std::move(handler), std::move(error), std::move(value)});
    });
  }
};

}  // namespace detail

/// Calls `function` on `executor`, then returns its result or rethrows its exception on the
/// caller's executor, which has outstanding work until then. Cancellation: not supported, so
/// `function` may refer to the caller's frame.
template <class Function>
asio::awaitable<std::invoke_result_t<Function&>> call_on(asio::any_io_executor executor,
                                                         Function function) {
  using value_type = decltype(detail::invoke_for_value(function));
  using start_type = detail::start_call<Function, value_type>;
  // Named: g++ 12 destroys an aggregate temporary of a co_await expression twice.
  start_type start{std::move(executor), std::move(function)};
  auto value = co_await asio::async_initiate<const asio::use_awaitable_t<>,
                                             void(std::exception_ptr, std::optional<value_type>)>(
      std::move(start), asio::use_awaitable);
  if constexpr (!std::is_void_v<std::invoke_result_t<Function&>>) co_return std::move(*value);
}

namespace detail {

template <class Handler>
struct returned_run {
  Handler handler;
  std::exception_ptr error;
  void operator()() { std::move(handler)(std::move(error)); }
};

// Keeps `function` alive until its coroutine completes: the captures of a coroutine lambda are
// members of the lambda.
inline asio::awaitable<void> run_and_keep(std::function<asio::awaitable<void>()> function) {
  co_await function();
}

struct start_run {
  asio::any_io_executor executor;
  std::function<asio::awaitable<void>()> function;

  template <class Handler>
  void operator()(Handler&& handler) {
    auto home = keep_running(asio::get_associated_executor(handler));
    auto back = [home = std::move(home),
                 handler = std::forward<Handler>(handler)](std::exception_ptr error) mutable {
      asio::post(home, returned_run<std::decay_t<Handler>>{std::move(handler), std::move(error)});
    };
    asio::post(executor, [executor = executor, function = std::move(function),
                          back = std::move(back)]() mutable {
      asio::co_spawn(executor, shield_completion(run_and_keep(std::move(function))),
                     std::move(back));
    });
  }
};

}  // namespace detail

/// Runs the coroutine returned by `function` on `executor` and rethrows its exception on the
/// caller's executor. Both executors have outstanding work until then. Cancellation: not supported,
/// so `function` may refer to the caller's frame.
[[nodiscard]] inline asio::awaitable<void> run_on(asio::any_io_executor executor,
                                                  std::function<asio::awaitable<void>()> function) {
  // Named: g++ 12 destroys an aggregate temporary of a co_await expression twice.
  detail::start_run start{std::move(executor), std::move(function)};
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(
      std::move(start), asio::use_awaitable);
}

}  // namespace xenpv::async
