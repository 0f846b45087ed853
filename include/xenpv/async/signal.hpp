// A condition that coroutines of one executor wait for: "something changed, check again". Carries
// no value and remembers nothing: a notification without a waiter is lost, so waiters check their
// condition first. Owned by the object whose state changes; used on one thread.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

class signal {
 public:
  explicit signal(asio::any_io_executor executor)
      : timer_(std::move(executor), asio::steady_timer::time_point::max()) {}

  /// Wakes all current waiters, from a later turn of the executor.
  void notify() { timer_.cancel(); }

  /// Returns after the next notify().
  ///
  /// Cancellation: terminal, partial, total; then returns like after a notification.
  [[nodiscard]] asio::awaitable<void> wait() {
    return wait_until(asio::steady_timer::time_point::max());
  }

  /// The same, but returns at `deadline` at the latest. One waiter at a time: another deadline
  /// wakes the waiters that are there.
  [[nodiscard]] asio::awaitable<void> wait_until(asio::steady_timer::time_point deadline) {
    if (timer_.expiry() != deadline) timer_.expires_at(deadline);
    (void)co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  }

 private:
  asio::steady_timer timer_;  ///< expires at the deadline, or never
};

}  // namespace xenpv::async
