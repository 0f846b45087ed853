// Runs independent coroutines at the same time, for clean-ups of which each must finish: unlike in
// a nursery, the failure of one does not cancel the others. Header-only. Sets no time limit.
#pragma once

#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>
#include <vector>

#include "async/nursery.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/async/shield.hpp"

namespace xenpv::async {

namespace detail {

inline asio::awaitable<void> complete(asio::awaitable<void> body, std::exception_ptr& first_error) {
  std::exception_ptr error;
  try {
    co_await shielded(std::move(body));
  } catch (...) {
    error = std::current_exception();
  }
  if (!first_error) first_error = error;
}

}  // namespace detail

/// Runs `bodies` concurrently on the caller's executor until all have completed. Then rethrows the
/// first exception, if any; later ones are dropped, so a body should report its own errors.
///
/// Cancellation: does not affect `bodies`; the caller's next co_await throws operation_aborted. If
/// the caller is already cancelled, its `co_await complete_all(...)` throws before any body starts.
[[nodiscard]] inline asio::awaitable<void> complete_all(std::vector<asio::awaitable<void>> bodies) {
  const auto executor = co_await asio::this_coro::executor;
  std::exception_ptr first_error;
  nursery tasks(executor);
  for (auto& body : bodies)
    tasks.spawn(detail::complete(std::move(body), first_error));
  co_await tasks.join();
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace xenpv::async
