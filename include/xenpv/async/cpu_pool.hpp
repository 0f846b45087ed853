// One io_context(1) and one pinned thread per CPU, for the data path.
//
// Owned by main(). Each CPU's objects are created, used and destroyed on that CPU's thread; other
// threads access them through post() or co_spawn() on the CPU's executor. Does not balance load or
// migrate work.
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

/// Options of a cpu_pool.
struct cpu_pool_options {
  /// Prefix of the thread names, followed by the CPU number ("xev-cpu3"). A /dev/xen/evtchn handle
  /// is named after the thread that opens it, so /proc/interrupts shows "evtchn:xev-cpu3". The
  /// kernel truncates thread names to 15 bytes.
  std::string thread_name = "xev-cpu";
  /// Called once per pool, on the failing thread, when a handler throws, so that the owner can
  /// start a shutdown. Every exception is logged immediately with the thread name; the first one of
  /// each thread is kept for join().
  std::function<void()> on_failure;
};

class cpu_pool {
 public:
  /// Starts a thread for each of `cpus`, in that order, and returns when every thread is running on
  /// its CPU. Throws `failure` naming the CPU that a thread could not be pinned to.
  explicit cpu_pool(std::span<const unsigned> cpus, cpu_pool_options options = {});
  /// Calls stop() and waits for the threads.
  ~cpu_pool();
  cpu_pool(const cpu_pool&) = delete;
  cpu_pool& operator=(const cpu_pool&) = delete;

  /// The number of threads. The positions below are 0 to size() - 1.
  [[nodiscard]] std::size_t size() const noexcept { return workers_.size(); }
  /// The CPU number at position `index`.
  [[nodiscard]] unsigned cpu(std::size_t index) const;
  /// The context that the thread at position `index` runs.
  [[nodiscard]] asio::io_context& context(std::size_t index);
  /// The executor of context(index).
  [[nodiscard]] asio::any_io_executor executor(std::size_t index);

  /// Lets the contexts run out of work: each thread exits once the services on its CPU have
  /// finished. Cancels nothing, so shut the services down first. May be called from any thread, but
  /// not concurrently; idempotent.
  void stop();
  /// Waits for all threads and rethrows the first handler exception, in CPU order. A thread keeps
  /// running after such an exception, so that its objects can still be destroyed.
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
