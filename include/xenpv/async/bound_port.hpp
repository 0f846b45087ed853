// One bound event-channel port of an event_loop; unbound on destruction. Move-only, owned by the
// code that binds it, used on the loop's thread only. It may outlive the loop or a resume, but is
// then dead (see is_live()).
//
// An event masks its port until the program has handled it, so that a busy port cannot flood its
// CPU. Events that arrive while the port is masked are merged into a single further event.
#pragma once

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/system/error_code.hpp>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/irq_affinity.hpp"
#include "xenpv/async/pending_handler.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::async {

class event_loop_state;
struct port_entry;

namespace detail {

using wait_handler = asio::any_completion_handler<void(boost::system::error_code)>;

template <class Handler>
wait_handler make_wait_handler(Handler&& handler, const asio::io_context::executor_type& executor) {
  using pending = pending_handler<std::decay_t<Handler>, asio::io_context::executor_type>;
  return wait_handler(pending(std::forward<Handler>(handler), executor));
}

/// The initiation of bound_port::async_wait().
class initiate_wait {
 public:
  using executor_type = asio::io_context::executor_type;

  initiate_wait(std::shared_ptr<event_loop_state> loop, std::shared_ptr<port_entry> entry) noexcept;

  [[nodiscard]] executor_type get_executor() const noexcept;
  template <class Handler>
  void operator()(Handler&& handler) const {
    start(make_wait_handler(std::forward<Handler>(handler), get_executor()));
  }

 private:
  void start(wait_handler handler) const;

  std::shared_ptr<event_loop_state> loop_;
  std::shared_ptr<port_entry> entry_;
};

}  // namespace detail

class bound_port {
 public:
  using executor_type = asio::io_context::executor_type;

  /// Not bound until a bound port is move-assigned to it.
  bound_port() noexcept;
  bound_port(bound_port&& other) noexcept;
  bound_port& operator=(bound_port&& other) noexcept;
  /// Unbinds the port. A pending wait fails with operation_aborted. Safe to call from any port's
  /// callback, including its own.
  ~bound_port();

  /// The local port number. The peer binds to this number.
  [[nodiscard]] port number() const noexcept;
  /// False after a resume, after event_loop::close(), after a failed read of the device, and for a
  /// moved-from port.
  [[nodiscard]] bool is_live() const noexcept;

  /// The executor of the loop's io_context. Throws `failure` (ENOTCONN) if the port is not bound.
  [[nodiscard]] executor_type get_executor() const;

  /// Sends an event to the peer. Throws `failure`, with errc::resumed if a resume has invalidated
  /// the port.
  void notify();

  /// Returns when an event has arrived since the last wait, or immediately if one already has. The
  /// port then stays masked until the next wait, so handle the event before waiting again. The loop
  /// resumes the waiter directly, not through the queue of the context.
  ///
  /// Executor: the loop's io_context. Throws `failure` (invalid_argument) if another waiter is
  /// pending or a callback is set. Cancellation: terminal, partial, total; an event that arrives
  /// later or at the same time is kept for the next wait. Errors: `failure` with errc::resumed or
  /// errc::lost_connection; operation_aborted.
  [[nodiscard]] asio::awaitable<void> wait();

  /// Like wait(), with any completion token. The operation completes with errc::resumed,
  /// errc::lost_connection, errc::invalid_argument (another listener is active) or
  /// operation_aborted instead of throwing. Throws `failure` (ENOTCONN) if the port is not bound.
  ///
  /// Call on the loop's thread, while its io_context exists. The handler is called on its
  /// associated executor, by default the loop's, never within async_wait(). If that executor is the
  /// loop's, the loop calls the handler directly when the event arrives. The operation keeps the
  /// executor's context running. Memory comes from the handler's associated allocator.
  ///
  /// Cancellation, through the handler's associated cancellation slot and on the loop's thread:
  /// terminal, partial, total. Cancelling the operation does not lose events.
  template <asio::completion_token_for<void(boost::system::error_code)> Token>
  auto async_wait(Token&& token) {
    return asio::async_initiate<Token, void(boost::system::error_code)>(make_initiation(), token);
  }

  /// For the hot path: `callback` runs on the loop's thread for each event, and the port is
  /// unmasked when it returns. Does not allocate per event. The callback may unbind any port,
  /// replace itself and bind other ports; its exceptions propagate from io_context::run() after the
  /// rest of the batch has been handled. An event that arrived earlier is delivered asynchronously.
  /// An empty callback removes the current one; events are then kept for the next wait. Throws
  /// `failure` while a wait is pending.
  void on_event(std::function<void()> callback);

  /// Calls `callback` once, on the loop's thread, if reading the device fails: the port is then
  /// dead, and a bind fails with the same error until the loop is reopened (event_loop::resumed).
  /// Not called for event_loop::resumed(), event_loop::close() or an unbind: the program itself
  /// initiates these. The callback may do anything that an on_event() callback may do. An empty
  /// callback removes the current one.
  void on_death(std::function<void(const error&)> callback);

  /// The port's interrupt placement, as determined by the bind or the last check_irq();
  /// `unavailable` if no CPU was requested.
  [[nodiscard]] const irq_placement& irq() const noexcept;
  /// Compares the interrupt counts with the counts taken at the bind or the last check. Only this
  /// check can make the placement `verified`. Too slow for the hot path: reads /proc.
  const irq_placement& check_irq();

 private:
  friend class event_loop;
  bound_port(std::shared_ptr<event_loop_state> loop, std::shared_ptr<port_entry> entry) noexcept;
  void release() noexcept;
  [[nodiscard]] detail::initiate_wait make_initiation() const;

  std::shared_ptr<event_loop_state> loop_;
  std::shared_ptr<port_entry> entry_;
};

}  // namespace xenpv::async
