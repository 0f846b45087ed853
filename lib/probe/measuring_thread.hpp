// Measuring threads, and the flag that stops them. Private to the probes.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <optional>
#include <thread>

#include "probe/scheduling.hpp"

namespace xenpv::probe {

/// A thread that runs on one CPU with the requested scheduling. Stores the exception that its work
/// throws.
class measuring_thread {
 public:
  /// Starts the thread, which calls `work` once it runs on `cpu`. Without a request, the thread
  /// keeps its creator's scheduling.
  measuring_thread(unsigned cpu, const std::optional<scheduling_wish>& request,
                   std::function<void()> work);
  measuring_thread(const measuring_thread&) = delete;
  measuring_thread& operator=(const measuring_thread&) = delete;
  /// Waits for the thread to exit.
  ~measuring_thread();

  /// Waits until the thread is ready to call `work`, and returns its scheduling. If the CPU or the
  /// scheduling was refused, joins the thread and throws the exception.
  const scheduling& wait_until_ready();
  /// Waits for the thread to exit and rethrows its exception, if any. Call at most once.
  void join();
  /// True if the thread has thrown.
  [[nodiscard]] bool has_failed() const noexcept { return failed_; }

 private:
  enum class phase { starting, ready, refused };
  void run(unsigned cpu, const std::optional<scheduling_wish>& request,
           const std::function<void()>& work) noexcept;
  void set_phase(phase reached) noexcept;

  std::atomic<phase> phase_ = phase::starting;
  std::atomic<bool> failed_ = false;
  scheduling scheduling_ = {};
  std::exception_ptr thrown_;
  std::thread thread_;
};

/// A flag that any thread may set, once.
class stop_flag {
 public:
  void set() noexcept { is_set_.store(true, std::memory_order_release); }
  [[nodiscard]] bool is_set() const noexcept { return is_set_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> is_set_ = false;
};

}  // namespace xenpv::probe
