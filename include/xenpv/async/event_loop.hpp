// Event channels as Asio objects: one /dev/xen/evtchn handle per CPU thread, its ports awaitable.
//
// Created, used and destroyed on the one thread that runs its io_context; only then is the wake-up
// local and the handle's mutex in the kernel uncontended. Knows nothing of rings or devices.
// Events coalesce and may be spurious: a listener must check for work itself.
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

/// Counted since the loop was created, across resumes.
struct event_loop_statistics {
  std::uint64_t wakes = 0;   ///< reads of the device that returned ports
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
  /// Receives a duplicate of the handle before the first bind; outlives the loop. Without one, the
  /// exit of this process after a save and restore is a kernel BUG (xen/custodian.hpp).
  xen::custodian* custodian = nullptr;
  /// Checked before each unbind and before the handle is closed; outlives the loop. While a suspend
  /// is unacknowledged, a port is not unbound, and the handle is left to the custodian: either
  /// would be a kernel BUG if the guest was resumed. Unset: the caller ensures that.
  const xen::suspend_clock* suspends = nullptr;
  /// Called in that case, on the loop's thread: the program has to find out how the suspend ended.
  std::function<void()> on_suspend = {};
  /// Move each port's IRQ to this CPU at bind; see bound_port::irq(). Unset: leave it to the
  /// kernel.
  std::optional<unsigned> irq_cpu;
  system_root root = system_root::from_environment();
};

class event_loop {
 public:
  /// Opens a handle named after the calling thread, which must be the one that runs `context`.
  /// Throws `failure`. Keeps the context from running dry until close().
  explicit event_loop(asio::io_context& context, event_loop_options options = {});
  /// Calls close(); an error is logged. The context must still exist.
  ~event_loop();
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  /// Bind as xen::event_channel_handle does. Throw `failure`; after a failed read of the device,
  /// with the error of that read (see also bound_port::on_death).
  [[nodiscard]] bound_port bind_unbound(domid remote);
  /// Swallows the port's first event, which Xen always sends. The peer's own may be merged with it:
  /// check for work once after binding, without an event.
  [[nodiscard]] bound_port bind_interdomain(domid remote, port remote_port);
  [[nodiscard]] bound_port bind_virq(std::uint32_t virq);

  /// For a guest that was saved and restored: gives up the handle without ever closing it and opens
  /// a new one. Every port bound so far is dead: waiters get `failure` with errc::resumed,
  /// callbacks are not called again. First call custodian::resumed(), once for the process and
  /// before the resumed() of any loop.
  void resumed();

  /// True while a suspend is unacknowledged: the guest may have been resumed elsewhere. Reads the
  /// clock a few times. Any thread.
  [[nodiscard]] bool suspend_pending() const noexcept;
  /// Calls event_loop_options::on_suspend, if set; logs its exceptions. The loop's thread.
  void report_suspend() noexcept;

  /// Stops cleanly: unbinds all ports and closes the handle and the custodian's duplicate. Pending
  /// waits end with operation_aborted; the loop no longer keeps the context running. Ports may
  /// outlive it, dead. Throws `failure`, but leaves nothing open.
  void close();

  [[nodiscard]] const event_loop_statistics& statistics() const noexcept;

 private:
  std::shared_ptr<class event_loop_state> state_;
};

}  // namespace xenpv::async
