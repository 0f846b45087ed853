// Measures event channels between two vCPUs of this guest: round trips over a loopback pair of
// ports, with one port delivered to each CPU. An event takes the same path as in PV backends:
// EVTCHNOP_send, upcall, /dev/xen/evtchn, a pinned user-space thread, unmask, and back the same
// way.
//
// Times are round trips measured on one CPU's clock; half a round trip is not a one-way time. A
// round trip is valid only if both events arrived on the intended CPUs, so each batch is compared
// with /proc/interrupts. Requires /dev/xen/evtchn, and root to set interrupt affinities.
//
// Keeps one handle for each CPU and role open for the probe's lifetime. The handles are registered
// with the custodian, a helper process that keeps descriptors open: once the guest has been saved
// and restored, the handles must not be closed (xen/custodian.hpp). Threads: must be used from one
// thread; measure() starts up to two threads and joins them.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "channels/interrupts.hpp"
#include "probe/probe_verdict.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/event_channel.hpp"

namespace xenpv::xen {
class resume_watch;
}

namespace xenpv::probe {

struct pair_result {
  unsigned from = 0;
  unsigned to = 0;
  histogram round_trips;  ///< nanoseconds; without the warm-up
  probe_verdict verdict = probe_verdict::failed;
  std::string reason = {};
  std::uint64_t expected = 0;       ///< events each way, warm-up included
  std::uint64_t counted_there = 0;  ///< events of the port on `to`, counted on `to`
  std::uint64_t counted_back = 0;   ///< events of the port on `from`, counted on `from`
  std::uint64_t counted_elsewhere = 0;
};

struct pair_probe_options {
  std::uint32_t count = 1000;
  std::uint32_t warm_up = 16;
  bool spin = false;  ///< poll for events instead of sleeping; excludes the wake-up latency
  std::optional<int> fifo_priority = {};    ///< SCHED_FIFO for the measuring threads
  std::chrono::milliseconds timeout{5000};  ///< for a single event
  system_root root = system_root::from_environment();
};

class pair_probe {
 public:
  /// `custodian` must outlive the probe.
  pair_probe(xen::custodian& custodian, pair_probe_options options);
  ~pair_probe();
  pair_probe(const pair_probe&) = delete;
  pair_probe& operator=(const pair_probe&) = delete;

  /// Measures round trips between two CPUs, or on a single CPU, where one thread sends and receives
  /// without being woken. Reports errors that affect only this pair in the result. Throws `failure`
  /// only for errors that affect every pair: a missing device, or errc::resumed if the guest was
  /// saved and restored, after which the probe is unusable.
  [[nodiscard]] pair_result measure(unsigned from, unsigned to);

 private:
  struct endpoint;
  endpoint& endpoint_for(char role, unsigned cpu);
  void place(endpoint& target, const channels::interrupt_table& interrupts, pair_result& out) const;
  void check(const endpoint& here, const endpoint& there, const channels::interrupt_table& before,
             pair_result& out) const;
  void run(endpoint& here, endpoint& there, pair_result& out) const;
  void unbind(endpoint& target);
  void abandon();

  xen::custodian& custodian_;
  pair_probe_options options_;
  std::unique_ptr<xen::resume_watch> resumes_;
  std::map<std::pair<char, unsigned>, std::unique_ptr<endpoint>> endpoints_;
};

/// Compares the counted events with the expected ones and sets the verdict and its reason (pure).
/// In a round trip, each event is consumed before the next one is sent, so both ends must count
/// every event.
void judge_pair(pair_result& result);

}  // namespace xenpv::probe
