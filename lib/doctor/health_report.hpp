// The doctor's report on one guest at one time: printed, shown on the page, kept as JSON, exported
// to Prometheus and compared. Values only; reads no files and knows no format but JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/check_result.hpp"
#include "doctor/guest_snapshot.hpp"
#include "probe/latency_figures.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::doctor {

/// The guest as its files describe it. Empty: not known.
struct guest_summary {
  std::string type = {};  ///< "PV", "PVH", "HVM", "none"
  bool control_domain = false;
  std::string xen_version = {};
  std::string kernel = {};
  std::string upcall = {};
  std::string event_abi = {};
  std::string clocksource = {};
  std::string clockevent = {};  ///< of all CPUs: "xen"; several separated by commas
  friend bool operator==(const guest_summary&, const guest_summary&) = default;
};

/// Events since boot, by kind and CPU.
struct event_counts {
  std::vector<unsigned> cpus = {};
  struct kind_counts {
    std::string kind = {};                   ///< name of the channel_kind; IPIs by their own names
    std::vector<std::uint64_t> counts = {};  ///< in the order of `cpus`
    friend bool operator==(const kind_counts&, const kind_counts&) = default;
  };
  std::vector<kind_counts> kinds = {};
  std::vector<std::uint64_t> upcalls = {};  ///< row HYP; empty without one
  friend bool operator==(const event_counts&, const event_counts&) = default;
};

struct cpu_steal {
  unsigned cpu = 0;
  std::uint64_t ticks = 0;  ///< of 10 ms
  friend bool operator==(const cpu_steal&, const cpu_steal&) = default;
};

struct measured_timer {
  unsigned cpu = 0;
  std::string verdict = {};  ///< name of the probe_verdict
  std::string reason = {};
  std::uint64_t lost = 0;            ///< periods
  std::uint64_t steal_ticks = 0;     ///< meanwhile
  probe::latency_figures late = {};  ///< nanoseconds
  friend bool operator==(const measured_timer&, const measured_timer&) = default;
};

struct measured_ipi {
  unsigned from = 0;
  unsigned to = 0;
  std::string verdict = {};
  std::string reason = {};
  probe::latency_figures round_trips = {};
  friend bool operator==(const measured_ipi&, const measured_ipi&) = default;
};

struct measurement {
  std::uint64_t interval_ns = 0;  ///< of the timers
  std::string scheduling = {};    ///< "SCHED_FIFO 80"
  std::vector<measured_timer> timers = {};
  std::vector<measured_ipi> ipis = {};
  std::string no_ipis = {};  ///< why there are none, or not for all CPUs
  friend bool operator==(const measurement&, const measurement&) = default;
};

struct health_report {
  std::string time = {};  ///< "2026-11-23T03:04:05Z"
  guest_summary guest = {};
  std::vector<check_result> check_results = {};
  event_counts events = {};
  std::vector<cpu_steal> steal = {};
  std::optional<std::uint32_t> incarnation = {};  ///< see xen::cpuid_facts
  std::optional<measurement> measured = {};
  friend bool operator==(const health_report&, const health_report&) = default;
};

/// Contains the results of run_checks() and, if `measured` is set, of judge_measurement().
[[nodiscard]] health_report make_report(const guest_snapshot& snapshot, std::string time,
                                        std::optional<measurement> measured);

/// Checks whether the measured times are verified by the counts.
[[nodiscard]] std::vector<check_result> judge_measurement(const measurement& measured);

/// JSON of the schema xenpv-doctor.report, with a newline at the end; always valid.
[[nodiscard]] std::string to_json_text(const health_report& report);
/// Parses such JSON. Errors name the place in the document, which is untrusted input.
[[nodiscard]] result<health_report> parse_report(std::string_view text);

}  // namespace xenpv::doctor
