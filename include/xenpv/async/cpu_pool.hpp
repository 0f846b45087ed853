// One io_context(1) and one pinned thread per CPU: the data path's execution resources.
//
// Owned by main(). The objects of a CPU are created, used and destroyed on that CPU's thread; other
// threads reach them with post() or co_spawn() on its executor. The pool does not balance load or
// move work.
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
  /// Prefix of the threads' names; the CPU's number follows ("xev-cpu3"). A handle of
  /// /dev/xen/evtchn is named after the thread that opens it, so /proc/interrupts shows
  /// "evtchn:xev-cpu3". The kernel truncates names to 15 bytes.
  std::string thread_name = "xev-cpu";
  /// Called on the failing thread, once per pool, when an exception leaves a handler, so that the
  /// owner can begin a stop. Every such exception is logged at once with the thread's name; join()
  /// rethrows the first of each thread.
  std::function<void()> on_failure;
};

class cpu_pool {
 public:
  /// Starts a thread for each of `cpus`, in that order, and returns when all of them run on their
  /// CPUs. Throws `failure` naming the CPU that a thread could not be pinned to.
  explicit cpu_pool(std::span<const unsigned> cpus, cpu_pool_options options = {});
  /// Calls stop() and waits for the threads.
  ~cpu_pool();
  cpu_pool(const cpu_pool&) = delete;
  cpu_pool& operator=(const cpu_pool&) = delete;

  [[nodiscard]] std::size_t size() const noexcept { return workers_.size(); }
  /// The CPU at position `index`.
  [[nodiscard]] unsigned cpu(std::size_t index) const;
  [[nodiscard]] asio::io_context& context(std::size_t index);
  [[nodiscard]] asio::any_io_executor executor(std::size_t index);

  /// Lets the contexts run dry: each thread ends when the services on its CPU have ended. Cancels
  /// nothing, so shut the services down first. Any thread, one at a time; idempotent.
  void stop();
  /// Waits for all threads and rethrows the first exception that left a handler, in CPU order. A
  /// thread keeps running after such an exception, so that its objects can still be torn down.
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
