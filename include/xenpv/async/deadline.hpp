// A time limit on any awaitable. Boost 1.81 (Asio 1.26) lacks cancel_after; from Asio 1.31 on that
// is the simpler spelling.
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
                                                      std::string what);

// `out` lives in the frame that awaits this one, so a result needs no default constructor.
template <class T>
asio::awaitable<void> store_result(asio::awaitable<T> operation, std::optional<T>& out) {
  out.emplace(co_await std::move(operation));
}

}  // namespace detail

/// Awaits `operation` for at most `limit`. When the time is up the operation is cancelled
/// (terminal) and awaited to its end; then `failure` with errc::timed_out is thrown, its text
/// beginning with `what`
/// ("wait for backend state Connected").
///
/// Runs on the caller's executor. An operation that ends well although its time was up counts: its
/// result is returned, not lost. An error of its own other than operation_aborted is rethrown as it
/// is. Cancellation by the caller goes to the operation, whose own outcome (usually
/// operation_aborted) comes out.
[[nodiscard]] inline asio::awaitable<void> with_deadline(asio::awaitable<void> operation,
                                                         std::chrono::steady_clock::duration limit,
                                                         std::string what) {
  return detail::run_with_deadline(std::move(operation), limit, std::move(what));
}

template <class T>
[[nodiscard]] asio::awaitable<T> with_deadline(asio::awaitable<T> operation,
                                               std::chrono::steady_clock::duration limit,
                                               std::string what) {
  std::optional<T> value;
  co_await detail::run_with_deadline(detail::store_result(std::move(operation), value), limit,
                                     std::move(what));
  co_return std::move(*value);
}

}  // namespace xenpv::async
