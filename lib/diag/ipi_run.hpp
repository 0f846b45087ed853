// The measured part of ipi_probe: calls on the thread that runs this, and what has to stand on the
// other CPUs meanwhile. Counts nothing and judges nothing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include "diag/measuring_thread.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/diag/scheduling.hpp"

namespace xenpv::diag {

/// Registers this process for both commands used here; again is harmless. Throws `failure`
/// (errc::not_available).
void register_membarrier();

/// `calls` times the barrier on `cpu`, each one's time into `times`. Throws `failure`.
void call_cpu(unsigned cpu, std::uint32_t calls, fine_histogram& times);
/// The same on all CPUs that run threads of this process.
void call_all(std::uint32_t calls, fine_histogram& times);

/// A thread that runs on one CPU, doing nothing, whenever it is told to.
class spinner {
 public:
  /// Throws `failure` if the thread cannot have that CPU or its policy.
  spinner(unsigned cpu, const scheduling_wish& wish);
  spinner(const spinner&) = delete;
  spinner& operator=(const spinner&) = delete;
  ~spinner();

  /// False when it does not get to run within `patience`.
  [[nodiscard]] bool spin(std::chrono::milliseconds patience);
  void rest();

 private:
  enum class order { rest, spin, end };
  void run(unsigned cpu, const scheduling_wish& wish);
  void give(order what);
  void follow();

  std::atomic<order> order_ = order::rest;
  std::atomic<bool> ready_ = false;
  std::atomic<bool> spinning_ = false;
  std::optional<worker> thread_;
};

/// Where two threads wake each other: a word of memory or a pair of eventfds.
class wake_line {
 public:
  virtual ~wake_line() = default;
  virtual void wake() = 0;
  /// For as many wakes as there were. False when none came in time.
  [[nodiscard]] virtual bool sleep(std::chrono::milliseconds patience) = 0;
};

class futex_line final : public wake_line {
 public:
  void wake() override;
  bool sleep(std::chrono::milliseconds patience) override;

 private:
  std::atomic<std::uint32_t> word_ = 0;
};

class eventfd_line final : public wake_line {
 public:
  eventfd_line();
  void wake() override;
  bool sleep(std::chrono::milliseconds patience) override;

 private:
  unique_fd event_;
};

/// Wakes who sleeps on `there` and sleeps on `back`, `wakes` times, each round trip's time into
/// `times`. Sleeps for `rest` before each, so that the other sleeps too. Throws errc::timed_out.
void wake_and_wait(wake_line& there, wake_line& back, std::uint32_t wakes,
                   std::chrono::nanoseconds rest, std::chrono::milliseconds patience,
                   fine_histogram& times);

}  // namespace xenpv::diag
