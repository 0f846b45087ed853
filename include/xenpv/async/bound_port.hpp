// One bound event-channel port of an event_loop; unbinds itself. Move-only, owned by the code that
// binds it, used on the loop's thread only. It may outlive the loop and a resume; it is then dead
// (see is_live()).
//
// An event masks its port until the program has handled it, so that a busy port cannot flood its
// CPU. Events that arrive while the port is masked are merged into a single further event.
#pragma once

#include <functional>
#include <memory>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/irq_affinity.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::async {

class event_loop_state;
struct port_entry;

class bound_port {
 public:
  /// Dead until a port is assigned.
  bound_port() noexcept;
  bound_port(bound_port&& other) noexcept;
  bound_port& operator=(bound_port&& other) noexcept;
  /// Unbinds the port. A pending wait() fails with operation_aborted. Safe to call from any port's
  /// callback, including its own.
  ~bound_port();

  /// The local port number, which the peer needs to bind to the port.
  [[nodiscard]] port number() const noexcept;
  /// False after a resume, after event_loop::close(), after a failed read of the device, and for a
  /// moved-from port. Costs two loads.
  [[nodiscard]] bool is_live() const noexcept;

  /// Sends an event to the peer. Throws `failure`: errc::resumed if a resume has invalidated the
  /// port.
  void notify();

  /// Returns when an event has arrived since the last wait(); immediately if one has already
  /// arrived. The port then stays masked until the next wait(), so handle the event before waiting
  /// again. The loop resumes the waiter directly, not through the context's queue.
  ///
  /// Executor: the loop's io_context. Only one waiter at a time, and none while a callback is set;
  /// otherwise throws `failure` (invalid_argument). Cancellation: terminal, partial, total; an
  /// event that arrives later or at the same time is kept for the next wait(). Errors:
  /// errc::resumed; operation_aborted.
  [[nodiscard]] asio::awaitable<void> wait();

  /// For the hot path: `callback` runs on the loop's thread for each event, and the port is
  /// unmasked when it returns. Does not allocate per event. The callback may unbind any port,
  /// replace itself and bind other ports; its exceptions propagate from io_context::run() after the
  /// rest of the batch has been handled. An event that arrived earlier is delivered asynchronously.
  /// An empty callback removes the current one; events are then kept for wait(). Throws `failure`
  /// while a wait() is pending.
  void on_event(std::function<void()> callback);

  /// Calls `callback` once, on the loop's thread, if reading the device fails: the port is then
  /// dead, and a bind fails with the same error until the loop is reopened (event_loop::resumed).
  /// Not called for a resume, a close() or an unbind, which the program itself initiates. The
  /// callback may do anything that an on_event() callback may do. An empty callback removes the
  /// current one.
  void on_death(std::function<void(const error&)> callback);

  /// The placement of the port's interrupt as set at bind; `unavailable` if none was requested.
  [[nodiscard]] const irq_placement& irq() const noexcept;
  /// Compares the interrupt counts with those at the bind or the last check. Only this check can
  /// make the placement `verified`. Reads /proc, so it is not suitable for the hot path.
  const irq_placement& check_irq();

 private:
  friend class event_loop;
  bound_port(std::shared_ptr<event_loop_state> loop, std::shared_ptr<port_entry> entry) noexcept;
  void release() noexcept;

  std::shared_ptr<event_loop_state> loop_;
  std::shared_ptr<port_entry> entry_;
};

}  // namespace xenpv::async
