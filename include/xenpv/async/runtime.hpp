// The execution environment of a program that uses /dev/xen: a guest session, one control thread,
// and one pinned thread per CPU. Create it once, in main(), before any other thread. Programs with
// their own io_contexts use guest_session.hpp instead.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/guest_session.hpp"

namespace xenpv {
class background_log;
}

namespace xenpv::async {

/// Options of a runtime.
struct runtime_options {
  /// CPUs to use, in index order. If empty, all CPUs available to the process.
  std::vector<unsigned> cpus;
  /// Prefix of the CPU thread names; see cpu_pool_options.
  std::string thread_name = "xev-cpu";
  /// Without a custodian, exiting after a save and restore triggers a kernel BUG, and a killed
  /// process leaves its devices connected. Disable it only in short-lived tests. If the custodian
  /// dies, this is logged immediately and a new one is started (xen/custodian.hpp).
  bool with_custodian = true;
  /// A running custodian, for this runtime only; null: the runtime starts one.
  std::shared_ptr<xen::custodian> custodian = {};
  /// Write log messages on a dedicated thread, so that a reader of stderr that stops reading does
  /// not block the other threads; if the queue is full, messages are dropped and counted. If false,
  /// each thread writes its own messages, which suits programs that only print a result.
  bool with_log_thread = true;
};

class cpu_pool;

namespace detail {

/// The contexts of a runtime's threads. A base class because the contexts must outlive the session
/// that uses them.
class runtime_contexts {
 protected:
  runtime_contexts();
  ~runtime_contexts();

  std::unique_ptr<background_log> log_;  ///< first, because all others may log; ends with run()
  asio::io_context context_{1};          ///< for the control thread
  std::unique_ptr<cpu_pool> pool_;
};

}  // namespace detail

class runtime : private detail::runtime_contexts, public guest_session {
 public:
  /// Starts the custodian and the CPU threads and connects to xenstore. Throws `failure`.
  explicit runtime(runtime_options options = {});
  ~runtime() override;
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  /// Runs `main` on the calling thread, which becomes the control thread. The event loops exist
  /// while `main` runs; when it returns, the loops and the xenstore client are closed and all
  /// threads exit. Rethrows the exception thrown by `main`, or else the first one thrown by a
  /// handler on the control thread or a CPU thread; exceptions thrown by handlers are also logged
  /// immediately. Call only once.
  ///
  /// When `main` returns, the custodian closes the devices that `main` did not close, before the
  /// event loops are closed and the CPU threads exit. Closing a device whose backend does not
  /// respond takes up to ten seconds; closing all of them takes at most a minute.
  void run(std::function<asio::awaitable<void>(runtime&)> main);

 private:
  // Called only by run().
  using guest_session::close;
  using guest_session::open;
  using guest_session::set_cpus;

  [[nodiscard]] asio::awaitable<void> run_main(std::function<asio::awaitable<void>(runtime&)> main);
  /// Runs the control context until it is out of work. As on the CPU threads, an exception thrown
  /// by a handler does not stop the thread, so that its objects can still be destroyed. Returns the
  /// first exception.
  [[nodiscard]] std::exception_ptr run_control();
  [[nodiscard]] std::exception_ptr join_pool();
};

}  // namespace xenpv::async
