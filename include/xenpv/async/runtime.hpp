// The execution environment of a program that uses /dev/xen: a guest session with threads, one for
// control and one pinned to each CPU. Created once, in main, before any other thread; shuts down in
// the right order. A convenience: guest_session.hpp serves programs with io_contexts of their own.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/guest_session.hpp"

namespace xenpv::async {

struct runtime_options {
  /// CPUs to use, in the order of their index here; empty: all that the process may use.
  std::vector<unsigned> cpus;
  /// Prefix of the CPU threads' names; see cpu_pool_options.
  std::string thread_name = "xev-cpu";
  /// Without a custodian, the exit of this process after a save and restore is a kernel BUG, and a
  /// killed process leaves its devices connected. Off for short-lived tests only: the first
  /// custodian cannot start once a thread runs. The death of a custodian is detected at once and
  /// logged, and it is replaced (xen/custodian.hpp).
  bool with_custodian = true;
};

namespace detail {

/// The control thread's context. A base, because it outlives the session that uses it.
class control_context {
 protected:
  asio::io_context context_{1};
};

}  // namespace detail

class runtime : private detail::control_context, public guest_session {
 public:
  /// Starts the custodian and the CPU threads, connects to xenstore. Throws `failure`.
  explicit runtime(runtime_options options = {});
  ~runtime();
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  /// Runs `main` on the calling thread, which becomes the control thread. Event loops exist while
  /// it runs; when it returns, they and the xenstore client are closed and all threads end.
  /// Rethrows the exception of `main`, or else the first one that left a handler on the control
  /// thread or on a CPU thread; each of those is logged when it happens. Call it only once.
  ///
  /// The custodian then closes the devices that `main` did not close, before the event loops and
  /// the CPU threads end. That takes up to ten seconds for each device whose backend does not
  /// answer, and at most a minute for all.
  void run(std::function<asio::awaitable<void>(runtime&)> main);

 private:
  [[nodiscard]] asio::awaitable<void> run_main(std::function<asio::awaitable<void>(runtime&)> main);
  /// Runs the control context until it is dry. As on the CPU threads, an exception that leaves a
  /// handler does not end the thread, so that its objects can still be torn down. Returns the first
  /// exception.
  [[nodiscard]] std::exception_ptr run_control();
  [[nodiscard]] std::exception_ptr join_pool();

  std::unique_ptr<class cpu_pool> pool_;
};

}  // namespace xenpv::async
