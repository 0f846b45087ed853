// One bound event-channel port of an event_loop; unbinds itself. Move-only, owned by whoever bound
// it, used on the loop's thread only. It may outlive the loop and a resume; it is then dead and
// says so.
//
// Work before unmask: an event masks its port until the work it called for is done, so a busy port
// cannot flood its CPU, and what comes meanwhile is merged into one more event.
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
  /// Dead from the start; gets a port by assignment.
  bound_port() noexcept;
  bound_port(bound_port&& other) noexcept;
  bound_port& operator=(bound_port&& other) noexcept;
  /// Unbinds. A pending wait() ends with operation_aborted. Safe in any port's callback, its own
  /// included.
  ~bound_port();

  /// The local number, to be told to the other end.
  [[nodiscard]] port number() const noexcept;
  /// False after a resume, after event_loop::close(), when the device could not be read any more,
  /// and for a moved-from port. Costs two loads.
  [[nodiscard]] bool is_live() const noexcept;

  /// Sends an event to the other end. Throws `failure`: errc::resumed on a port that a resume
  /// killed.
  void notify();

  /// Returns when an event came since the last wait(); at once if one already did. The port stays
  /// masked from then on until the next wait(): work first, then wait again. The one that resumes
  /// the waiter is the loop itself, without a detour through the context's queue.
  ///
  /// Executor: the loop's io_context. One waiter at a time, and none beside a callback: `failure`
  /// (invalid_argument) otherwise. Cancellation: terminal, partial, total; an event that comes
  /// later, or came at the same time, is kept for the next wait(). Errors: errc::resumed;
  /// operation_aborted.
  [[nodiscard]] asio::awaitable<void> wait();

  /// The form for the hot path: `callback` runs on the loop's thread for each event, and the port
  /// is unmasked when it returns. Nothing is allocated per event. It may unbind any port, replace
  /// itself, and bind others; what it throws leaves io_context::run() after the rest of the batch
  /// has been handled. An event that came before is delivered soon. An empty callback ends the
  /// deliveries: events are then kept for wait(). Throws `failure` while a wait() is pending.
  void on_event(std::function<void()> callback);

  /// `callback` is called once, on the loop's thread, when the loop cannot hear the port any more
  /// because reading the device failed: the port is dead, and a bind fails with the same error
  /// until the loop is opened anew (event_loop::resumed). Not called at a resume, a close() or an
  /// unbind, which their causers know of. It may do what on_event()'s may. An empty one ends it.
  void on_death(std::function<void(const error&)> callback);

  /// Where the port's interrupt was moved at bind; unavailable if that was not asked for.
  [[nodiscard]] const irq_placement& irq() const noexcept;
  /// Looks at the interrupt counts since the bind or the last check: only they can make it
  /// `verified`. Reads /proc: not for the hot path.
  const irq_placement& check_irq();

 private:
  friend class event_loop;
  bound_port(std::shared_ptr<event_loop_state> loop, std::shared_ptr<port_entry> entry) noexcept;
  void release() noexcept;

  std::shared_ptr<event_loop_state> loop_;
  std::shared_ptr<port_entry> entry_;
};

}  // namespace xenpv::async
