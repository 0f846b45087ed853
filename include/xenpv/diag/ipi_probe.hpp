// IPIs between the vCPUs of this guest, measured and counted: what it costs to interrupt a running
// vCPU (membarrier), to wake an idle one (futex, eventfd), and to interrupt several at once.
//
// The kernel sends no IPI where it can do without, and then the times are short and mean nothing:
// membarrier to a CPU whose thread was just preempted returns after 150 ns. So calls are made in
// batches, each is compared with /proc/interrupts, and one that does not add up is thrown away with
// its times.
//
// Times are round trips, read on one CPU's clock. Runs anywhere; off Xen the counts are those of
// the rows RES and CAL. Needs no privilege but for SCHED_FIFO. Thread: one; measuring starts others
// and joins them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/histogram.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/diag/ipi_counts.hpp"
#include "xenpv/diag/probe_verdict.hpp"
#include "xenpv/diag/scheduling.hpp"

namespace xenpv::diag {

enum class ipi_method {
  membarrier,  ///< MEMBARRIER_CMD_FLAG_CPU: exactly one IPI to a running vCPU, and its answer
  futex,       ///< wakes a thread on an idle vCPU and is woken by it: two wake-ups
  eventfd,     ///< the same through eventfd(2)
};
[[nodiscard]] std::string_view to_string(ipi_method method) noexcept;

struct ipi_probe_options {
  std::uint32_t count = 1000;  ///< calls of each pair, in batches that added up
  /// Calls between two looks at the counts. Batches of wake-ups get smaller, down to 2, whenever
  /// one did not add up.
  std::uint32_t batch = 100;
  scheduling_wish schedule = {};
  /// How long after its answer a vCPU is left alone before it is woken again, so that it is idle.
  /// Doubled, up to 20 ms, whenever there were fewer IPIs than wake-ups.
  std::chrono::nanoseconds rest{std::chrono::microseconds{200}};
  std::chrono::milliseconds patience{5000};  ///< for a single answer
  system_root root = system_root::from_environment();
};

struct ipi_pair {
  ipi_method method = ipi_method::membarrier;
  unsigned from = 0;
  unsigned to = 0;            ///< equal to `from`: the call without an IPI, the baseline
  fine_histogram times = {};  ///< nanoseconds, of batches that were kept
  std::uint32_t kept = 0;     ///< batches
  std::uint32_t thrown_away = 0;
  std::uint64_t calls = 0;  ///< in kept batches
  ipi_counts there = {};    ///< counted on `to` in kept batches
  ipi_counts back = {};     ///< counted on `from`
  scheduling thread = {};
  probe_verdict verdict = probe_verdict::failed;
  std::string reason = {};  ///< of a batch that was thrown away, the last one's
};

/// One CPU to several at once (MEMBARRIER_CMD_PRIVATE_EXPEDITED).
struct ipi_broadcast {
  unsigned from = 0;
  std::vector<unsigned> to = {};
  fine_histogram times = {};
  std::uint32_t kept = 0;
  std::uint32_t thrown_away = 0;
  std::uint64_t calls = 0;
  std::vector<ipi_counts> there = {};  ///< as `to`
  scheduling thread = {};
  probe_verdict verdict = probe_verdict::failed;
  std::string reason = {};
};

class ipi_probe {
 public:
  /// Throws `failure` (errc::not_available) where the kernel has no membarrier(2) for one CPU
  /// (before 5.10).
  explicit ipi_probe(ipi_probe_options options);

  /// What goes wrong with this pair alone is in the result. Throws `failure` for a CPU that may not
  /// be used, and for a policy that was insisted on and refused.
  [[nodiscard]] ipi_pair measure(ipi_method method, unsigned from, unsigned to) const;
  [[nodiscard]] ipi_broadcast broadcast(unsigned from, const std::vector<unsigned>& to) const;

 private:
  ipi_probe_options options_;
};

}  // namespace xenpv::diag
