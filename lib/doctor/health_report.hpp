// The doctor's report on one guest at one time. It is printed, rendered as a page, stored as JSON,
// exported to Prometheus and compared. Contains only data: does not read files, and implements no
// format except JSON.
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

/// Properties of the guest, read from its files. An empty string means unknown.
struct guest_summary {
  std::string name = {};  ///< the host name, or a label that the user chose
  std::string type = {};  ///< "PV", "PVH", "HVM", "none"
  bool control_domain = false;
  std::string xen_version = {};
  std::string kernel = {};
  std::string upcall = {};
  std::string event_abi = {};
  std::string clocksource = {};
  std::string clockevent = {};  ///< clock event devices of all CPUs, comma-separated: "xen"
  friend bool operator==(const guest_summary&, const guest_summary&) = default;
};

/// Events since boot, by kind and CPU.
struct event_counts {
  std::vector<unsigned> cpus = {};
  struct kind_counts {
    std::string kind = {};                   ///< channel_kind or, for IPIs, the IPI type
    std::vector<std::uint64_t> counts = {};  ///< in the order of `cpus`
    friend bool operator==(const kind_counts&, const kind_counts&) = default;
  };
  std::vector<kind_counts> kinds = {};
  std::vector<std::uint64_t> upcalls = {};  ///< counts of row HYP; empty if there is no such row
  friend bool operator==(const event_counts&, const event_counts&) = default;
};

struct cpu_steal {
  unsigned cpu = 0;
  std::uint64_t ticks = 0;  ///< 10 ms each
  friend bool operator==(const cpu_steal&, const cpu_steal&) = default;
};

struct measured_timer {
  unsigned cpu = 0;
  std::string verdict = {};  ///< probe_verdict as text
  std::string reason = {};
  std::uint64_t lost = 0;            ///< lost periods
  std::uint64_t steal_ticks = 0;     ///< ticks of 10 ms stolen during the measurement
  probe::latency_figures late = {};  ///< lateness in nanoseconds
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
  std::uint64_t interval_ns = 0;  ///< timer period
  std::string scheduling = {};    ///< "SCHED_FIFO 80"
  std::vector<measured_timer> timers = {};
  std::vector<measured_ipi> ipis = {};
  std::string no_ipis = {};  ///< why IPIs were not measured, or only on some CPUs
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

/// Builds a report with the results of run_checks() and, if `measured` is set, of
/// judge_measurement().
[[nodiscard]] health_report make_report(const guest_snapshot& snapshot, std::string time,
                                        std::optional<measurement> measured);

/// Checks whether the counts verify the measured times.
[[nodiscard]] std::vector<check_result> judge_measurement(const measurement& measured);

/// Formats a report as JSON with schema xenpv-doctor.report and a trailing newline. The output is
/// always valid JSON.
[[nodiscard]] std::string to_json_text(const health_report& report);
/// Parses untrusted JSON with this schema. An error contains the path of the invalid value.
[[nodiscard]] result<health_report> parse_report(std::string_view text);

}  // namespace xenpv::doctor
