// Safe access to event channels, xenstore and PV devices over the guest's save, restore and live
// migration: the custodian, the suspend clock, a xenstore client, an event loop for each of the
// given io_contexts, and the callbacks after a resume. For programs that own their io_contexts and
// threads; runtime.hpp adds both.
//
// Wrong use of an event-channel handle after a migration is a kernel BUG (xen/custodian.hpp). This
// object does all that prevents it. Knows no devices.
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

/// A subscription to resumes; ends with this object. Move-only; may outlive the session.
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

struct session_cpu {
  /// Run by one thread; outlives the session. It may be the control executor's own.
  asio::io_context* context = nullptr;
  /// The CPU that the loop's interrupts go to. Unset: the kernel decides.
  std::optional<unsigned> irq_cpu = {};
};

class guest_session {
 public:
  /// Starts the custodian, unless told not to, and connects to xenstore; everything slow or
  /// blocking happens on `control`, which one thread runs. The custodian must start before the
  /// process has other threads. Throws `failure`.
  ///
  /// Without a custodian, the exit of this process after a save and restore is a kernel BUG, and a
  /// killed process leaves its devices connected. The death of a custodian is detected at once and
  /// logged, and it is replaced (xen/custodian.hpp).
  explicit guest_session(asio::any_io_executor control, bool with_custodian = true);
  /// close() should have returned, if open() was called.
  ~guest_session();
  guest_session(const guest_session&) = delete;
  guest_session& operator=(const guest_session&) = delete;

  /// The contexts that get an event loop, in the order of their index here. Before open().
  void set_cpus(std::vector<session_cpu> cpus);

  /// Opens the event loops, each on its context's thread, and watches for resumes. Control
  /// executor.
  [[nodiscard]] asio::awaitable<void> open();

  /// The custodian closes the devices that were not closed in order; then the event loops and the
  /// xenstore client are closed. The first part takes up to ten seconds for each device whose
  /// backend does not answer, and at most a minute for all. Control executor; also without open().
  [[nodiscard]] asio::awaitable<void> close();

  /// Calls `callback` on the control executor each time the guest was saved and restored. By then
  /// the custodian keeps the old event-channel handles for ever, and every event loop has a new
  /// one: old ports are dead (errc::resumed), old grants are invalid, and nodes written to xenstore
  /// are gone. Bind, grant and write again; destroy the old objects as usual. A cancelled suspend
  /// changes nothing and calls no callback. `callback` must not throw.
  [[nodiscard]] resume_hook on_resume(std::function<void()> callback);
  /// Checks whether the guest was resumed since the last check; if so, does all of the above, with
  /// the callbacks, and returns true. Control executor only. For a frontend that finds its nodes
  /// missing, and before it then unbinds a port: the watch that reports a resume may be slower.
  [[nodiscard]] asio::awaitable<bool> check_resume();
  /// The number of resumes since open().
  [[nodiscard]] std::uint64_t resumes() const noexcept;

  [[nodiscard]] asio::any_io_executor control() const;
  [[nodiscard]] store_client& store() noexcept;
  /// nullptr if there is none.
  [[nodiscard]] xen::custodian* custodian() noexcept;
  [[nodiscard]] std::size_t cpus() const noexcept;
  [[nodiscard]] asio::any_io_executor executor(std::size_t index);
  [[nodiscard]] asio::io_context& context(std::size_t index);
  /// For the thread of `executor(index)` only, between open() and close().
  [[nodiscard]] event_loop& loop(std::size_t index);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::async
