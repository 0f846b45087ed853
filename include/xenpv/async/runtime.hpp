// What a program over /dev/xen runs on: a control thread with a xenstore client, a pool of pinned
// CPU threads with an event loop each, and the custodian that outlives them. Made once, in main,
// before any other thread; takes itself down in the right order.
//
// Knows no devices. It survives the guest's save and restore, and tells whoever asks (on_resume).
// It is a convenience: everything in it can be set up by hand.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/async/store_client.hpp"

namespace xenpv::async {

struct runtime_options {
  /// CPUs to use, in the order of their index here; empty: all that the process may use.
  std::vector<unsigned> cpus;
  /// Start of the CPU threads' names; see cpu_pool_options.
  std::string thread_name = "xev-cpu";
  /// Without a custodian a guest that is saved and restored meets a kernel BUG when this process
  /// ends, and a killed process leaves its devices connected. Off for short-lived tests only: the
  /// first one cannot start once a thread runs. One that dies is noticed at once, logged and
  /// replaced (xen/custodian.hpp).
  bool with_custodian = true;
};

/// Somebody's wish to be told of resumes; ends with this object. Move-only; may outlive the
/// runtime.
class resume_hook {
 public:
  resume_hook() noexcept;
  resume_hook(resume_hook&&) noexcept;
  resume_hook& operator=(resume_hook&&) noexcept;
  ~resume_hook();

 private:
  friend class runtime;
  struct entry;
  explicit resume_hook(std::unique_ptr<entry> made) noexcept;
  std::unique_ptr<entry> entry_;
};

class runtime {
 public:
  /// Starts the custodian and the CPU threads, connects to xenstore. Throws `failure`.
  explicit runtime(runtime_options options = {});
  ~runtime();
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  /// Runs `main` on the calling thread, which is the control thread from then on. Event loops exist
  /// while it runs; when it returns, they and the xenstore client are closed and all threads end.
  /// Rethrows what `main` throws, or else the first exception that left a handler on the control
  /// thread or on a CPU thread; each of those is logged when it happens. Once only.
  ///
  /// Devices that `main` left without closing them are then closed by the custodian, before the
  /// event loops and the CPU threads end: up to ten seconds for each whose backend does not answer,
  /// a minute for all.
  void run(std::function<asio::awaitable<void>(runtime&)> main);

  /// `callback` is called on the control thread each time the guest was saved and restored. By
  /// then the custodian has the old event-channel handles for ever, and every event loop has a new
  /// one: ports bound before are dead (errc::resumed), grants made before are worth nothing, and
  /// what was written to xenstore is gone. Bind, grant and write anew; drop the old objects as
  /// usual. A suspend that was cancelled changes nothing and calls nobody. Must not throw.
  [[nodiscard]] resume_hook on_resume(std::function<void()> callback);
  /// For the control thread: looks whether the guest was resumed since the last look, and if so
  /// does and tells all of the above before it returns true. For whoever finds his nodes gone, and
  /// before unbinding a port after such a finding: the watch that tells of a resume may be slower.
  [[nodiscard]] asio::awaitable<bool> check_resume();
  /// Resumes since the runtime was started.
  [[nodiscard]] std::uint64_t resumes() const noexcept;

  [[nodiscard]] asio::any_io_executor control();
  [[nodiscard]] store_client& store() noexcept;
  /// nullptr without one.
  [[nodiscard]] xen::custodian* custodian() noexcept;
  [[nodiscard]] std::size_t cpus() const noexcept;
  [[nodiscard]] asio::any_io_executor executor(std::size_t index);
  [[nodiscard]] asio::io_context& context(std::size_t index);
  /// For the thread of `executor(index)` only.
  [[nodiscard]] event_loop& loop(std::size_t index);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::async
