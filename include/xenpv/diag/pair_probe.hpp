// Event channels between two vCPUs of this guest, measured: a loopback pair of ports, one delivered
// to each CPU, and round trips over it. It is the path of PV backends: EVTCHNOP_send, upcall,
// /dev/xen/evtchn, a process on a pinned thread, unmask, and the same back.
//
// Times are round trips read on one CPU's clock; half of one is no one-way time. A round trip is
// only what it claims to be if both events came to the CPUs meant, so each batch is compared with
// /proc/interrupts. Needs /dev/xen/evtchn, and root to place interrupts.
//
// Keeps one handle for each CPU and role, open until the end, in the custodian's care: a guest that
// is saved and restored meanwhile must not close them (xen/custodian.hpp). Thread: one; measure()
// starts two of its own and joins them.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "xenpv/base/histogram.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/diag/interrupts.hpp"
#include "xenpv/diag/probe_verdict.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/event_channel.hpp"

namespace xenpv::xen {
class resume_watch;
}

namespace xenpv::diag {

struct pair_result {
  unsigned from = 0;
  unsigned to = 0;
  histogram round_trips;  ///< nanoseconds; warm-up left out
  probe_verdict verdict = probe_verdict::failed;
  std::string reason = {};
  std::uint64_t expected = 0;       ///< events each way, warm-up included
  std::uint64_t counted_there = 0;  ///< on `to`, of the port there
  std::uint64_t counted_back = 0;   ///< on `from`, of the port here
  std::uint64_t counted_elsewhere = 0;
};

struct pair_probe_options {
  std::uint32_t count = 1000;
  std::uint32_t warm_up = 16;
  bool spin = false;  ///< look for events without sleeping: leaves the wake-up out
  std::optional<int> fifo_priority = {};     ///< SCHED_FIFO for the measuring threads
  std::chrono::milliseconds patience{5000};  ///< for a single event
  system_root root = system_root::from_environment();
};

class pair_probe {
 public:
  /// `custodian` outlives the probe.
  pair_probe(xen::custodian& custodian, pair_probe_options options);
  ~pair_probe();
  pair_probe(const pair_probe&) = delete;
  pair_probe& operator=(const pair_probe&) = delete;

  /// Round trips between two CPUs, or of one with itself: then a single thread sends and takes, and
  /// nobody is woken. Throws `failure` only for what no pair can do without: the device, or
  /// errc::resumed when the guest was saved and restored, after which the probe is of no use. What
  /// goes wrong with this pair alone is in the result.
  [[nodiscard]] pair_result measure(unsigned from, unsigned to);

 private:
  struct end;
  end& end_for(char role, unsigned cpu);
  void place(end& at, const interrupt_table& interrupts, pair_result& out) const;
  void check(const end& here, const end& there, const interrupt_table& before,
             pair_result& out) const;
  void run(end& here, end& there, pair_result& out) const;
  void let_go(end& at);
  void abandon();

  xen::custodian& custodian_;
  pair_probe_options options_;
  std::unique_ptr<xen::resume_watch> resumes_;
  std::map<std::pair<char, unsigned>, std::unique_ptr<end>> ends_;
};

/// Compares what was counted with what was expected (pure): sets the verdict and its reason. For
/// round trips, where each event is taken before the next is sent, both ends have to count each.
void judge_pair(pair_result& result);

}  // namespace xenpv::diag
