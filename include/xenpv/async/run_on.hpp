// Running a coroutine on another thread's executor and resuming here when it is done.
//
// Not plain co_spawn with use_awaitable: Asio 1.26 keeps the child's cancellation state in the
// caller's slot, which two threads would then touch.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <functional>
#include <utility>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/async/shield.hpp"

namespace xenpv::async {

namespace detail {

template <class Handler>
struct returned_run {
  Handler handler;
  std::exception_ptr error;
  void operator()() { std::move(handler)(std::move(error)); }
};

// Keeps the function until its coroutine is done: a coroutine lambda's captures live in the lambda.
inline asio::awaitable<void> run_and_keep(std::function<asio::awaitable<void>()> function) {
  co_await function();
}

struct start_run {
  asio::any_io_executor where;
  std::function<asio::awaitable<void>()> function;

  template <class Handler>
  void operator()(Handler&& handler) {
    auto home = keep_running(asio::get_associated_executor(handler));
    auto back = [home = std::move(home),
                 handler = std::forward<Handler>(handler)](std::exception_ptr error) mutable {
      asio::post(home, returned_run<std::decay_t<Handler>>{std::move(handler), std::move(error)});
    };
    asio::post(where, [where = where, function = std::move(function),
                       back = std::move(back)]() mutable {
      asio::co_spawn(where, shield_completion(run_and_keep(std::move(function))), std::move(back));
    });
  }
};

}  // namespace detail

/// Runs `function`'s coroutine on `where`, rethrows here what it throws. Both contexts are kept
/// running meanwhile. No cancellation: `function` may refer to the caller's frame.
[[nodiscard]] inline asio::awaitable<void> run_on(asio::any_io_executor where,
                                                  std::function<asio::awaitable<void>()> function) {
  // Named, because g++ 12 destroys an aggregate twice that is a temporary of a co_await expression.
  detail::start_run start{std::move(where), std::move(function)};
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(
      std::move(start), asio::use_awaitable);
}

}  // namespace xenpv::async
