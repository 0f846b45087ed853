// One io_context(1) and one pinned thread per CPU: the data path's execution resources.
//
// Owned by main(). What lives on a CPU is created, used and destroyed on that CPU's thread; others
// reach it with post() or co_spawn() on its executor. The pool balances nothing and moves nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

struct cpu_pool_options {
  /// Start of the threads' names; the CPU's number follows ("xev-cpu3"). A handle of
  /// /dev/xen/evtchn is called after the thread that opens it, so /proc/interrupts shows
  /// "evtchn:xev-cpu3". Names are cut to 15 bytes by the kernel.
  std::string thread_name = "xev-cpu";
  /// Called on the failing thread, once per pool, when an exception leaves a handler: the owner's
  /// chance to begin a stop. Every such exception is logged at once with the thread's name; the
  /// first of each thread comes out of join().
  std::function<void()> on_failure;
};

class cpu_pool {
 public:
  /// Starts a thread for each of `cpus`, in that order, and returns when all of them run where they
  /// should. Throws `failure` naming the CPU that a thread could not be pinned to.
  explicit cpu_pool(std::span<const unsigned> cpus, cpu_pool_options options = {});
  /// Does stop() and waits for the threads.
  ~cpu_pool();
  cpu_pool(const cpu_pool&) = delete;
  cpu_pool& operator=(const cpu_pool&) = delete;

  [[nodiscard]] std::size_t size() const noexcept { return workers_.size(); }
  /// The CPU of position `index`.
  [[nodiscard]] unsigned cpu(std::size_t index) const;
  [[nodiscard]] asio::io_context& context(std::size_t index);
  [[nodiscard]] asio::any_io_executor executor(std::size_t index);

  /// Lets the contexts run dry: each thread ends when the services on its CPU have ended. Nothing
  /// is cancelled, so shut the services down first. Any thread, one at a time; again is harmless.
  void stop();
  /// Waits for all threads and rethrows the first exception that left a handler, in CPU order. A
  /// thread keeps running after such an exception, so that what lives on it can still be unwound.
  void join();

 private:
  struct worker;
  void run(worker& self);
  void wait_for_threads() noexcept;

  cpu_pool_options options_;
  std::atomic_flag failure_reported_;
  std::vector<std::unique_ptr<worker>> workers_;
};

}  // namespace xenpv::async
