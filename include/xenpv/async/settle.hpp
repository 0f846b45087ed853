// What every coroutine handed to co_spawn is wrapped in. co_spawn (Asio 1.26) posts before it calls
// the completion handler when the coroutine ended without ever suspending; if the coroutine was
// cancelled meanwhile, that post throws, and the handler is lost with whoever waits for it.
#pragma once

#include <boost/asio/this_coro.hpp>
#include <exception>
#include <utility>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

/// Runs `body`; from its end on, cancellation can no longer get between the outcome and its
/// handler.
inline asio::awaitable<void> settle(asio::awaitable<void> body) {
  std::exception_ptr error;
  try {
    co_await std::move(body);
  } catch (...) {
    error = std::current_exception();
  }
  co_await asio::this_coro::throw_if_cancelled(false);
  if (error) std::rethrow_exception(error);
}

}  // namespace xenpv::async
