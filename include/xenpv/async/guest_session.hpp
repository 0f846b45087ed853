// Safe access to event channels, xenstore and PV devices across save, restore and live migration of
// the guest. Consists of the custodian, the suspend clock, a xenstore client, an event loop for
// each of the given io_contexts, and callbacks to run after a resume. For programs with their own
// io_contexts and threads; otherwise use runtime.hpp.
//
// Incorrect use of an event-channel handle after a migration triggers a kernel BUG
// (xen/custodian.hpp); this class prevents it. Independent of device types.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/async/store_client.hpp"

namespace xenpv::async {

/// A subscription to resume notifications; destroying it unsubscribes. Move-only; may outlive the
/// session.
class resume_hook {
 public:
  resume_hook() noexcept;
  resume_hook(resume_hook&&) noexcept;
  resume_hook& operator=(resume_hook&&) noexcept;
  ~resume_hook();

 private:
  friend class guest_session;
  struct entry;
  explicit resume_hook(std::unique_ptr<entry> new_entry) noexcept;
  std::unique_ptr<entry> entry_;
};

/// One io_context of a guest_session and the CPU of the thread that runs it.
struct session_cpu {
  /// Must be run by one thread and outlive the session. May be the control executor's context.
  asio::io_context* context = nullptr;
  /// The CPU to which the loop's interrupts are routed. If unset, the kernel chooses.
  std::optional<unsigned> irq_cpu = {};
};

class guest_session {
 public:
  /// Starts the custodian if `with_custodian` is true, and connects to xenstore. Blocking
  /// operations run on `control`, which must be run by one thread. Throws `failure`.
  ///
  /// Without a custodian, exiting after a save and restore triggers a kernel BUG, and a killed
  /// process leaves its devices connected. If the custodian dies, this is logged immediately and a
  /// new one is started (xen/custodian.hpp).
  explicit guest_session(asio::any_io_executor control, bool with_custodian = true);
  /// Like the constructor above, but uses a custodian that is already running; null: none.
  guest_session(asio::any_io_executor control, std::shared_ptr<xen::custodian> custodian);
  /// Terminates the program if open() was called and close() has not returned.
  virtual ~guest_session();
  guest_session(const guest_session&) = delete;
  guest_session& operator=(const guest_session&) = delete;

  /// Sets the contexts that get an event loop, in index order. Call before open().
  void set_cpus(std::vector<session_cpu> cpus);

  /// Opens the event loops, each on its context's thread, and watches for resumes. Call on the
  /// control executor.
  ///
  /// Cancellation: terminal, partial, total. After an error or a cancellation, call close().
  [[nodiscard]] asio::awaitable<void> open();

  /// Makes the custodian close all devices that were not closed cleanly, then closes the event
  /// loops and the xenstore client. Closing a device whose backend does not respond takes up to ten
  /// seconds; closing all of them takes at most a minute. Call on the control executor; may be
  /// called without open().
  ///
  /// Cancellation: does not interrupt close(); the caller's next co_await throws operation_aborted.
  /// If the caller is already cancelled, its co_await of close() throws operation_aborted without
  /// closing anything.
  [[nodiscard]] asio::awaitable<void> close();

  /// Starts `body` on the control executor; close() first waits for it. For clean-up that a
  /// destructor has to leave to a coroutine. Call before close() returns; a later call only logs an
  /// error. Without close(), destroying the session terminates the program. close() rethrows an
  /// exception thrown by `body`. Control executor only.
  void spawn(asio::awaitable<void> body);

  /// Calls `callback` on the control executor after each save and restore of the guest. By then,
  /// the custodian holds the old event-channel handles open permanently, and every event loop has a
  /// new handle. Old ports are dead (errc::resumed), old grants are invalid, and nodes written to
  /// xenstore no longer exist: bind, grant and write again, and destroy the old objects as usual.
  /// Not called after a cancelled suspend. `callback` must not throw.
  [[nodiscard]] resume_hook on_resume(std::function<void()> callback);
  /// Checks for a resume since the last check. If there was one, handles it as described for
  /// on_resume(), including the callbacks, and returns true. Control executor only. A frontend
  /// whose nodes are missing must call this before it unbinds a port, because the watch that
  /// reports a resume may fire later.
  [[nodiscard]] asio::awaitable<bool> check_resume();
  /// The number of resumes since open().
  [[nodiscard]] std::uint64_t resumes() const noexcept;

  /// The control executor.
  [[nodiscard]] asio::any_io_executor control() const;
  /// The session's xenstore client, which may be used on any executor until close().
  [[nodiscard]] store_client& store() noexcept;
  /// nullptr if the session was created without a custodian.
  [[nodiscard]] xen::custodian* custodian() noexcept;
  /// The number of contexts passed to set_cpus(). The indices below are 0 to cpus() - 1.
  [[nodiscard]] std::size_t cpus() const noexcept;
  /// The executor of context(index).
  [[nodiscard]] asio::any_io_executor executor(std::size_t index);
  /// The context at position `index` of set_cpus().
  [[nodiscard]] asio::io_context& context(std::size_t index);
  /// Use only on the thread of `executor(index)`, between open() and close().
  [[nodiscard]] event_loop& loop(std::size_t index);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::async
