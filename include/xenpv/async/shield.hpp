// Protects coroutines from cancellation: either only the completion of a spawned coroutine, or all
// of a coroutine that must not be interrupted (a closing handshake, a clean-up). Header-only. Does
// not limit the duration of a shielded body.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

/// Runs `body`, then disables cancellation so that the result reaches the completion handler. Every
/// coroutine passed to co_spawn is wrapped in this function: if the coroutine never suspended,
/// co_spawn (Asio 1.26) posts before it calls the completion handler. If the coroutine was
/// cancelled by then, the post throws, the handler is never called, and its waiter never resumes.
inline asio::awaitable<void> shield_completion(asio::awaitable<void> body) {
  std::exception_ptr error;
  try {
    co_await std::move(body);
  } catch (...) {
    error = std::current_exception();
  }
  co_await asio::this_coro::throw_if_cancelled(false);
  if (error) std::rethrow_exception(error);
}

namespace detail {

struct start_shielded {
  asio::any_io_executor executor;
  asio::awaitable<void> body;

  template <class Handler>
  void operator()(Handler&& handler) {
    // The lambda hides the handler's cancellation slot: a cancellation is recorded in the caller's
    // state but not propagated to `body`.
    asio::co_spawn(executor, shield_completion(std::move(body)),
                   [handler = std::forward<Handler>(handler)](std::exception_ptr error) mutable {
                     std::move(handler)(std::move(error));
                   });
  }
};

template <class T>
asio::awaitable<void> store_shielded(asio::awaitable<T> body, std::optional<T>& result) {
  result.emplace(co_await std::move(body));
}

}  // namespace detail

/// Runs `body` to completion on the caller's executor: cancelling the caller does not affect
/// `body`. Returns the result of `body` or rethrows its exception. The cancellation takes effect
/// afterwards: the caller's next co_await throws operation_aborted.
///
/// If the caller is already cancelled, its `co_await shielded(...)` throws before `body` starts,
/// like any other co_await of a cancelled coroutine. To clean up after a cancelled operation, use
/// clean_up_on_failure() or finally().
[[nodiscard]] inline asio::awaitable<void> shielded(asio::awaitable<void> body) {
  // Two statements and a name because g++ 12 destroys an aggregate twice if it is built by a
  // co_await expression or is a temporary of one.
  const auto executor = co_await asio::this_coro::executor;
  detail::start_shielded start{executor, std::move(body)};
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(
      std::move(start), asio::use_awaitable);
}

/// Like the overload for `void`; returns the result of `body`.
template <class T>
[[nodiscard]] asio::awaitable<T> shielded(asio::awaitable<T> body) {
  std::optional<T> result;
  co_await shielded(detail::store_shielded(std::move(body), result));
  co_return std::move(*result);
}

namespace detail {

// Runs the coroutine returned by `clean_up`, shielded, and returns its error. The caller has turned
// throw_if_cancelled off, because otherwise its co_await would throw; `throws` is restored.
[[nodiscard]] inline asio::awaitable<std::exception_ptr> cleaned_up(
    std::function<asio::awaitable<void>()> clean_up, bool throws) {
  std::exception_ptr error;
  try {
    co_await shielded(clean_up());
  } catch (...) {
    error = std::current_exception();
  }
  co_await asio::this_coro::throw_if_cancelled(throws);
  co_return error;
}

}  // namespace detail

/// Runs `body`, which can be cancelled as usual. If it throws, runs the coroutine returned by
/// `clean_up`, shielded and even if the caller is already cancelled, and then rethrows the error of
/// `body`. An exception thrown by `clean_up` replaces that error, so `clean_up` should catch any
/// error that it can report better itself.
template <class T>
[[nodiscard]] asio::awaitable<T> clean_up_on_failure(
    asio::awaitable<T> body, std::function<asio::awaitable<void>()> clean_up) {
  std::exception_ptr error;
  try {
    co_return co_await std::move(body);
  } catch (...) {
    error = std::current_exception();
  }
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto failure = co_await detail::cleaned_up(std::move(clean_up), throws);
  std::rethrow_exception(failure ? failure : error);
}

/// Runs `body`, which can be cancelled as usual, and then in all cases the coroutine returned by
/// `clean_up`, shielded and even if the caller has been cancelled. Returns the result of `body`, or
/// rethrows the error of `body`, or else the error of `clean_up`. If both fail, the error of
/// `clean_up` is dropped, so `clean_up` should catch any error that it can report better itself.
///
/// If the caller is already cancelled, its `co_await finally(...)` throws before `body` starts, and
/// `clean_up` does not run.
[[nodiscard]] inline asio::awaitable<void> finally(
    asio::awaitable<void> body, std::function<asio::awaitable<void>()> clean_up) {
  std::exception_ptr error;
  try {
    co_await std::move(body);
  } catch (...) {
    error = std::current_exception();
  }
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto failure = co_await detail::cleaned_up(std::move(clean_up), throws);
  if (!error) error = failure;
  if (error) std::rethrow_exception(error);
}

/// Like the overload for `void`; returns the result of `body`.
template <class T>
[[nodiscard]] asio::awaitable<T> finally(asio::awaitable<T> body,
                                         std::function<asio::awaitable<void>()> clean_up) {
  std::optional<T> result;
  co_await finally(detail::store_shielded(std::move(body), result), std::move(clean_up));
  co_return std::move(*result);
}

}  // namespace xenpv::async
