// Event channels as Asio I/O objects: one /dev/xen/evtchn handle per CPU thread, with awaitable
// ports.
//
// Created, used and destroyed on the thread that runs its io_context, which keeps wake-ups local
// and the kernel's per-handle mutex uncontended. Independent of rings and devices. Events coalesce
// and may be spurious: a listener must check for work itself.
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

/// Counts since the loop was created. A resume does not reset them.
struct event_loop_statistics {
  std::uint64_t wakes = 0;   ///< reads of the device that returned ports
  std::uint64_t events = 0;  ///< passed to a callback or waiter, or kept for the next wait(); each
                             ///< may represent any number of notifications
  std::uint64_t spurious = 0;   ///< events for ports that are no longer bound
  std::uint64_t swallowed = 0;  ///< discarded first events of interdomain ports
  std::uint64_t unmasks = 0;    ///< ports unmasked after an event
  std::uint64_t notifies = 0;   ///< events sent
  std::uint64_t resumes = 0;    ///< calls of event_loop::resumed()
  std::uint64_t left = 0;       ///< ports left bound because of an unacknowledged suspend
};

/// Options of an event_loop.
struct event_loop_options {
  /// Receives a duplicate of the handle before the first bind; must outlive the loop. Without a
  /// custodian, the exit of this process after a save and restore triggers a kernel BUG
  /// (xen/custodian.hpp).
  xen::custodian* custodian = nullptr;
  /// Checked before each unbind and before the handle is closed; must outlive the loop. While a
  /// suspend is unacknowledged, the loop does not unbind ports and leaves the handle to the
  /// custodian: unbinding a port or closing the handle would trigger a kernel BUG if the guest was
  /// resumed. If unset, the caller must not unbind ports or close the loop during that time.
  const xen::suspend_clock* suspends = nullptr;
  /// Called on the loop's thread when an unbind is skipped because of a suspend: the program must
  /// determine how the suspend ended.
  std::function<void()> on_suspend = {};
  /// The CPU to which each bound port's IRQ is moved; see bound_port::irq(). If unset, the kernel
  /// chooses.
  std::optional<unsigned> irq_cpu;
  /// Where to find the IRQ of a bound port; see irq_affinity.hpp.
  system_root root = system_root::from_environment();
};

class event_loop {
 public:
  using executor_type = asio::io_context::executor_type;

  /// Opens a handle named after the calling thread, which must be the one that runs `context`.
  /// Throws `failure`. Keeps the context running until close().
  explicit event_loop(asio::io_context& context, event_loop_options options = {});
  /// Calls close(); an error is logged. The context must still exist.
  ~event_loop();
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  /// The executor of the loop's io_context.
  [[nodiscard]] executor_type get_executor() const noexcept;

  /// The bind functions correspond to those of xen::event_channel_handle. They throw `failure`.
  /// After a failed read of the device, they fail with the same error (see bound_port::on_death).
  [[nodiscard]] bound_port bind_unbound(domid remote);
  /// Discards the port's first event, which Xen always sends. The peer's first event may be merged
  /// with it, so check for work once after binding, even without an event.
  [[nodiscard]] bound_port bind_interdomain(domid remote, port remote_port);
  /// Binds a virtual IRQ of vCPU 0, the only vCPU available to user space.
  [[nodiscard]] bound_port bind_virq(std::uint32_t virq);

  /// Call this after the guest was saved and restored. Abandons the handle without closing it and
  /// opens a new one. All ports bound so far become dead: their waits fail with `failure`
  /// (errc::resumed), and their callbacks are no longer called. Call custodian::resumed() once per
  /// process before calling resumed() of any loop.
  void resumed();

  /// True while a suspend is unacknowledged: the guest may have been resumed elsewhere. May be
  /// called from any thread.
  [[nodiscard]] bool suspend_pending() const noexcept;
  /// Calls event_loop_options::on_suspend, if set, and logs its exceptions. Call only on the loop's
  /// thread.
  void report_suspend() noexcept;

  /// Unbinds all ports and closes the handle and the custodian's duplicate. Pending waits fail with
  /// operation_aborted. The loop then no longer keeps the context running. Ports may outlive the
  /// loop, but are dead. May throw `failure`, but only after closing everything.
  void close();

  /// Call on the loop's thread. The reference stays valid for the lifetime of the loop.
  [[nodiscard]] const event_loop_statistics& statistics() const noexcept;

 private:
  std::shared_ptr<class event_loop_state> state_;
};

}  // namespace xenpv::async
