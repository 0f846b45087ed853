// Measures and counts IPIs between the vCPUs of this guest: the cost of interrupting a running vCPU
// (membarrier), of waking an idle one (futex, eventfd), and of interrupting several vCPUs at once.
//
// The kernel does not send an IPI if it can avoid one; the measured time is then short and
// meaningless: membarrier to a CPU whose thread was just preempted returns after 150 ns. Calls are
// therefore made in batches, each batch is compared with /proc/interrupts, and a batch whose counts
// do not match is discarded with its times.
//
// Times are round trips measured on one CPU's clock. Runs anywhere; outside Xen, the counts come
// from rows RES and CAL. Requires no privileges except for SCHED_FIFO. Threads: must be used from
// one thread; a measurement starts further threads and joins them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "probe/ipi_counts.hpp"
#include "probe/probe_verdict.hpp"
#include "probe/scheduling.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::probe {

enum class ipi_method {
  membarrier,  ///< MEMBARRIER_CMD_FLAG_CPU: exactly one IPI to a running vCPU, and its reply
  futex,       ///< wakes a thread on an idle vCPU and is woken by it: two wake-ups
  eventfd,     ///< the same through eventfd(2)
};
[[nodiscard]] std::string_view to_string(ipi_method method) noexcept;

struct ipi_probe_options {
  std::uint32_t count = 1000;  ///< calls per pair; only kept batches count
  /// Calls per batch, that is, between two snapshots of the counts. After a batch of wake-ups whose
  /// counts do not match, the next batch is half as large, but at least 2.
  std::uint32_t batch = 100;
  scheduling_wish schedule = {};
  /// The pause after a vCPU's reply, long enough for the vCPU to go idle before it is woken again.
  /// Doubled, up to 20 ms, after a batch with fewer IPIs than wake-ups.
  std::chrono::nanoseconds rest{std::chrono::microseconds{200}};
  std::chrono::milliseconds timeout{5000};  ///< for a single reply
  /// Called between batches with the number of calls kept so far, on the thread that measures;
  /// returning false ends the measurement of this pair early.
  std::function<bool(std::uint64_t calls)> go_on = {};
  system_root root = system_root::from_environment();
};

struct ipi_measurement {
  fine_histogram times = {};  ///< nanoseconds, from kept batches
  std::uint32_t kept = 0;     ///< kept batches
  std::uint32_t thrown_away = 0;
  std::uint64_t calls = 0;  ///< in kept batches
  scheduling thread = {};
  probe_verdict verdict = probe_verdict::failed;
  std::string reason = {};  ///< why the last discarded batch did not match
};

struct ipi_pair : ipi_measurement {
  ipi_method method = ipi_method::membarrier;
  unsigned from = 0;
  unsigned to = 0;        ///< equal to `from` for the baseline, which sends no IPIs
  ipi_counts there = {};  ///< counted on `to` in kept batches
  ipi_counts back = {};   ///< counted on `from` in kept batches
};

/// IPIs from one CPU to several at once (MEMBARRIER_CMD_PRIVATE_EXPEDITED).
struct ipi_broadcast : ipi_measurement {
  unsigned from = 0;
  std::vector<unsigned> to = {};
  std::vector<ipi_counts> there = {};  ///< in the order of `to`
};

class ipi_probe {
 public:
  /// Throws `failure` (errc::not_available) if the kernel lacks single-CPU membarrier(2) (before
  /// Linux 5.10).
  explicit ipi_probe(ipi_probe_options options);

  /// Reports errors that affect only this pair in the result. Throws `failure` for a CPU that this
  /// process may not use, and if a mandatory policy is refused.
  [[nodiscard]] ipi_pair measure(ipi_method method, unsigned from, unsigned to) const;
  [[nodiscard]] ipi_broadcast broadcast(unsigned from, const std::vector<unsigned>& to) const;

 private:
  ipi_probe_options options_;
};

}  // namespace xenpv::probe
