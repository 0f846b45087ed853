// Measures and counts IPIs between the vCPUs of this guest: the cost of interrupting a running vCPU
// (membarrier), of waking an idle one (futex, eventfd), and of interrupting several at once.
//
// The kernel sends no IPI where it can avoid one, and then the times are short and meaningless:
// membarrier to a CPU whose thread was just preempted returns after 150 ns. Calls are therefore
// made in batches, each batch is compared with /proc/interrupts, and a batch whose counts do not
// match is discarded with its times.
//
// Times are round trips, read on one CPU's clock. Runs anywhere; off Xen the counts come from rows
// RES and CAL. Needs no privilege except for SCHED_FIFO. Thread: one; measuring starts others and
// joins them.
#pragma once

#include <chrono>
#include <cstdint>
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
  std::uint32_t count = 1000;  ///< calls of each pair, in kept batches
  /// Calls between two readings of the counts. Batches of wake-ups shrink, down to 2, whenever the
  /// counts of one do not match.
  std::uint32_t batch = 100;
  scheduling_wish schedule = {};
  /// The pause after a vCPU's reply before it is woken again, so that it is idle. Doubled whenever
  /// there were fewer IPIs than wake-ups, up to 20 ms.
  std::chrono::nanoseconds rest{std::chrono::microseconds{200}};
  std::chrono::milliseconds timeout{5000};  ///< for a single reply
  system_root root = system_root::from_environment();
};

struct ipi_pair {
  ipi_method method = ipi_method::membarrier;
  unsigned from = 0;
  unsigned to = 0;            ///< equal to `from`: the call without an IPI, the baseline
  fine_histogram times = {};  ///< nanoseconds, of kept batches
  std::uint32_t kept = 0;     ///< batches
  std::uint32_t thrown_away = 0;
  std::uint64_t calls = 0;  ///< in kept batches
  ipi_counts there = {};    ///< counted on `to` in kept batches
  ipi_counts back = {};     ///< counted on `from`
  scheduling thread = {};
  probe_verdict verdict = probe_verdict::failed;
  std::string reason = {};  ///< of the last discarded batch
};

/// One CPU to several at once (MEMBARRIER_CMD_PRIVATE_EXPEDITED).
struct ipi_broadcast {
  unsigned from = 0;
  std::vector<unsigned> to = {};
  fine_histogram times = {};
  std::uint32_t kept = 0;
  std::uint32_t thrown_away = 0;
  std::uint64_t calls = 0;
  std::vector<ipi_counts> there = {};  ///< in the order of `to`
  scheduling thread = {};
  probe_verdict verdict = probe_verdict::failed;
  std::string reason = {};
};

class ipi_probe {
 public:
  /// Throws `failure` (errc::not_available) where the kernel has no membarrier(2) for one CPU
  /// (before 5.10).
  explicit ipi_probe(ipi_probe_options options);

  /// Reports errors of this pair alone in the result. Throws `failure` for a CPU that this process
  /// may not use, and when a mandatory policy is refused.
  [[nodiscard]] ipi_pair measure(ipi_method method, unsigned from, unsigned to) const;
  [[nodiscard]] ipi_broadcast broadcast(unsigned from, const std::vector<unsigned>& to) const;

 private:
  ipi_probe_options options_;
};

}  // namespace xenpv::probe
