// The measured part of ipi_probe: the calls on the calling thread, and the threads that must run on
// the other CPUs during the calls. Does not count IPIs or evaluate results.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "probe/measuring_thread.hpp"
#include "probe/scheduling.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::probe {

/// Registers this process for both membarrier(2) commands used here; repeated calls are harmless.
/// Throws `failure` (errc::not_available).
void register_membarrier();

/// Calls membarrier(2) for `cpu`, `calls` times, and adds the time of each call to `times`. Throws
/// `failure`.
void call_cpu(unsigned cpu, std::uint32_t calls, fine_histogram& times);
/// The same for all CPUs that run threads of this process.
void call_all(std::uint32_t calls, fine_histogram& times);

/// A thread that busy-waits on one CPU on request.
class spinner {
 public:
  /// Throws `failure` if the thread cannot use that CPU or scheduling.
  spinner(unsigned cpu, const scheduling_wish& request);
  spinner(const spinner&) = delete;
  spinner& operator=(const spinner&) = delete;
  ~spinner();

  /// Starts busy-waiting. Returns false if the thread is not running within `timeout`.
  [[nodiscard]] bool spin(std::chrono::milliseconds timeout);
  void rest();

 private:
  enum class command { rest, spin, end };
  void set_command(command new_command);
  void run_commands();

  std::atomic<command> command_ = command::rest;
  std::atomic<bool> spinning_ = false;
  measuring_thread thread_;
};

/// Wake-ups from one thread to another, through a futex or an eventfd.
class wake_line {
 public:
  virtual ~wake_line() = default;
  virtual void wake() = 0;
  /// Waits for a wake-up and consumes all pending ones. Returns false on timeout.
  [[nodiscard]] virtual bool sleep(std::chrono::milliseconds timeout) = 0;
};

class futex_line final : public wake_line {
 public:
  void wake() override;
  bool sleep(std::chrono::milliseconds timeout) override;

 private:
  std::atomic<std::uint32_t> word_ = 0;
};

class eventfd_line final : public wake_line {
 public:
  eventfd_line();
  void wake() override;
  bool sleep(std::chrono::milliseconds timeout) override;

 private:
  unique_fd event_;
};

/// Measures `wakes` round trips: wakes the thread that sleeps on `there`, then sleeps on `back`,
/// and adds the elapsed time to `times`. Sleeps for `rest` before each round trip, so that the
/// other thread is asleep as well. Throws errc::timed_out.
void wake_and_wait(wake_line& there, wake_line& back, std::uint32_t wakes,
                   std::chrono::nanoseconds rest, std::chrono::milliseconds timeout,
                   fine_histogram& times);

}  // namespace xenpv::probe
