// Threads that measure, and the flag that tells them to stop. Private to the probes.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <thread>

namespace xenpv::probe {

/// A thread that stores the exception that its work throws.
class worker {
 public:
  explicit worker(std::function<void()> work);
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;
  /// Waits for the thread to exit.
  ~worker();
  /// Waits for the thread to exit; returns the exception that the work threw, or nullptr.
  std::exception_ptr finish();

 private:
  std::exception_ptr thrown_;
  std::thread thread_;
};

/// Set once, by any thread.
class stop_flag {
 public:
  void set() noexcept { is_set_.store(true, std::memory_order_release); }
  [[nodiscard]] bool is_set() const noexcept { return is_set_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> is_set_ = false;
};

}  // namespace xenpv::probe
