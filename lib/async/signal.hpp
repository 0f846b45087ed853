// A condition that coroutines of one executor wait for. Stores neither a value nor notifications: a
// notification without a waiter is lost, so check the condition before waiting. Owned by the object
// whose state changes; used on one thread.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

class signal {
 public:
  explicit signal(const asio::any_io_executor& executor)
      : timer_(executor, asio::steady_timer::time_point::max()) {}

  /// Wakes all current waiters. They resume in a later iteration of the event loop.
  void notify() { timer_.cancel(); }

  /// Returns after the next notify().
  ///
  /// Cancellation: terminal, partial, total; a cancelled wait returns as if notified.
  [[nodiscard]] asio::awaitable<void> wait() {
    return wait_until(asio::steady_timer::time_point::max());
  }

  /// Like wait(), but returns at `deadline` at the latest. Supports one waiter at a time: a wait
  /// with a different deadline wakes the current waiters.
  [[nodiscard]] asio::awaitable<void> wait_until(asio::steady_timer::time_point deadline) {
    if (timer_.expiry() != deadline) timer_.expires_at(deadline);
    (void)co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  }

 private:
  asio::steady_timer timer_;  ///< expires at the waiter's deadline, or never
};

}  // namespace xenpv::async
