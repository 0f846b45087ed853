// Running a blocking function on another thread's executor and resuming with its result here.
//
// Not co_spawn on the other executor: Asio 1.26 keeps the child's cancellation state in the
// caller's slot, which two threads would then touch. Here nothing of the caller is shared but a
// handler in transit.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

/// `executor`, whose context does not run dry while the returned copy lives.
inline asio::any_io_executor keep_running(const asio::any_io_executor& executor) {
  return asio::prefer(executor, asio::execution::outstanding_work.tracked);
}

namespace detail {

// void has no place in an optional.
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
  asio::any_io_executor where;
  Function function;

  template <class Handler>
  void operator()(Handler&& handler) {
    auto home = keep_running(asio::get_associated_executor(handler));
    asio::post(where, [home = std::move(home), function = std::move(function),
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

/// Calls `function` on `where` and returns what it returns, or throws what it throws, on the
/// caller's executor, whose context is kept running meanwhile. No cancellation: `function` may
/// refer to the caller's frame.
template <class Function>
asio::awaitable<std::invoke_result_t<Function&>> call_on(asio::any_io_executor where,
                                                         Function function) {
  using value_type = decltype(detail::invoke_for_value(function));
  using start_type = detail::start_call<Function, value_type>;
  // Named, because g++ 12 destroys an aggregate twice that is a temporary of a co_await expression.
  start_type start{std::move(where), std::move(function)};
  auto value = co_await asio::async_initiate<const asio::use_awaitable_t<>,
                                             void(std::exception_ptr, std::optional<value_type>)>(
      std::move(start), asio::use_awaitable);
  if constexpr (!std::is_void_v<std::invoke_result_t<Function&>>) co_return std::move(*value);
}

}  // namespace xenpv::async
