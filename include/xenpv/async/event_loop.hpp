// Event channels as Asio objects: one /dev/xen/evtchn handle per CPU thread, its ports awaitable.
//
// Created, used and destroyed on the one thread that runs its io_context; only then is the wake-up
// local and the handle's mutex in the kernel uncontended. Knows nothing of rings or devices. An
// event says "look": events coalesce, and now and then one says nothing, so whoever is woken must
// look and find out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/bound_port.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::xen {
class custodian;
class suspend_clock;
}  // namespace xenpv::xen

namespace xenpv::async {

/// Counted since the loop was created, over resumes too.
struct event_loop_statistics {
  std::uint64_t wakes = 0;   ///< reads of the device that brought ports
  std::uint64_t events = 0;  ///< ports given to a callback or waiter, or kept for the next wait();
                             ///< each may stand for any number of notifications
  std::uint64_t spurious = 0;   ///< ports read that are not bound here (any more)
  std::uint64_t swallowed = 0;  ///< first events of interdomain ports
  std::uint64_t unmasks = 0;
  std::uint64_t notifies = 0;  ///< events sent
  std::uint64_t resumes = 0;
  std::uint64_t left = 0;  ///< ports not unbound, because the guest had just been suspended
};

struct event_loop_options {
  /// Gets a duplicate of the handle before the first bind; outlives the loop. Without one, a guest
  /// that is saved and restored meets a kernel BUG when this process ends (xen/custodian.hpp).
  xen::custodian* custodian = nullptr;
  /// Asked before each unbind and before the handle is closed; outlives the loop. After a suspend
  /// that nobody has settled yet, a port is left to its handle and a handle to the custodian:
  /// either would be the kernel's BUG if it was a resume. Unset: the caller sees to that.
  const xen::suspend_clock* suspends = nullptr;
  /// Called then, on the loop's thread: somebody has to find out.
  std::function<void()> doubted = {};
  /// Move each port's IRQ to this CPU at bind; see bound_port::irq(). Unset: leave it to the
  /// kernel.
  std::optional<unsigned> irq_cpu;
  system_root root = system_root::from_environment();
};

class event_loop {
 public:
  /// Opens a handle called after the calling thread, which must be the one that runs `context`.
  /// Throws `failure`. Keeps the context from running dry until close().
  explicit event_loop(asio::io_context& context, event_loop_options options = {});
  /// Does close(); an error is logged. The context must still exist.
  ~event_loop();
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  /// The binds of xen::event_channel_handle. They throw `failure`; once reading the device has
  /// failed, with the error of that (see also bound_port::on_death).
  [[nodiscard]] bound_port bind_unbound(domid remote);
  /// The port's first event, which Xen always sends, is swallowed here. The peer's own may be
  /// merged with it: look once after binding, without an event.
  [[nodiscard]] bound_port bind_interdomain(domid remote, port remote_port);
  [[nodiscard]] bound_port bind_virq(std::uint32_t virq);

  /// The guest was saved and restored: gives up the handle without ever closing it and opens a new
  /// one. Every port bound so far is dead: waiters get `failure` with errc::resumed, callbacks are
  /// not called again. Call custodian::resumed() first, once for the process, before the loops'
  /// own.
  void resumed();

  /// True since a suspend of which nobody knows yet whether the guest was resumed elsewhere. A few
  /// looks at the clock. Any thread.
  [[nodiscard]] bool is_doubtful() const noexcept;
  /// Has event_loop_options::doubted called: somebody has to find out. The loop's thread.
  void doubt() noexcept;

  /// The clean stop: unbinds all ports, closes the handle, and the custodian's duplicate with it.
  /// Pending waits end with operation_aborted; the context then runs dry as far as this loop is
  /// concerned. Ports may outlive it, dead. Throws `failure`, but leaves nothing open.
  void close();

  [[nodiscard]] const event_loop_statistics& statistics() const noexcept;

 private:
  std::shared_ptr<class event_loop_state> state_;
};

}  // namespace xenpv::async
