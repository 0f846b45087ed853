// A time limit for any awaitable. Replaces asio::cancel_after, which requires Asio 1.31; Boost 1.81
// contains Asio 1.26.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

namespace detail {

[[nodiscard]] asio::awaitable<void> run_with_deadline(asio::awaitable<void> operation,
                                                      std::chrono::steady_clock::duration limit,
                                                      std::string description);

// Stores the result in the awaiting coroutine's frame, so that T need not be default-constructible.
template <class T>
asio::awaitable<void> store_result(asio::awaitable<T> operation, std::optional<T>& out) {
  out.emplace(co_await std::move(operation));
}

}  // namespace detail

/// Awaits `operation` for at most `limit`. When `limit` expires, cancels the operation (terminal),
/// awaits its completion and throws `failure` with errc::timed_out; the message begins with
/// `description` ("wait for backend state Connected").
///
/// Runs on the caller's executor. If the operation succeeds even after `limit` has expired, its
/// result is returned. Errors of the operation other than operation_aborted are rethrown unchanged.
/// If the caller is cancelled, the cancellation is passed to the operation, and the operation's
/// outcome (usually operation_aborted) is returned or rethrown.
[[nodiscard]] inline asio::awaitable<void> with_deadline(asio::awaitable<void> operation,
                                                         std::chrono::steady_clock::duration limit,
                                                         std::string description) {
  return detail::run_with_deadline(std::move(operation), limit, std::move(description));
}

/// Like the overload for `void`; returns the result of `operation`.
template <class T>
[[nodiscard]] asio::awaitable<T> with_deadline(asio::awaitable<T> operation,
                                               std::chrono::steady_clock::duration limit,
                                               std::string description) {
  std::optional<T> value;
  co_await detail::run_with_deadline(detail::store_result(std::move(operation), value), limit,
                                     std::move(description));
  co_return std::move(*value);
}

}  // namespace xenpv::async
