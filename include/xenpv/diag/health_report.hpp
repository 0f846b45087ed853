// Everything the doctor has to say of one guest at one time: what is printed, shown on the page,
// kept as JSON, given to Prometheus and compared. Values only; knows no files and no format but
// JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/diag/examination.hpp"
#include "xenpv/diag/finding.hpp"
#include "xenpv/diag/latency_figures.hpp"

namespace xenpv::diag {

/// What the guest is, in the words of its files. Empty: not known.
struct guest_words {
  std::string type = {};  ///< "PV", "PVH", "HVM", "none"
  bool control_domain = false;
  std::string xen_version = {};
  std::string kernel = {};
  std::string upcall = {};
  std::string event_abi = {};
  std::string clocksource = {};
  std::string clockevent = {};  ///< of all CPUs: "xen"; several with commas
  friend bool operator==(const guest_words&, const guest_words&) = default;
};

/// Events since boot, by kind and CPU.
struct event_counts {
  std::vector<unsigned> cpus = {};
  struct of_kind {
    std::string kind = {};                   ///< of channel_kind, IPIs by their own names
    std::vector<std::uint64_t> counts = {};  ///< as `cpus`
    friend bool operator==(const of_kind&, const of_kind&) = default;
  };
  std::vector<of_kind> kinds = {};
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
  std::string verdict = {};  ///< of probe_verdict
  std::string reason = {};
  std::uint64_t lost = 0;         ///< periods
  std::uint64_t steal_ticks = 0;  ///< meanwhile
  latency_figures late = {};      ///< nanoseconds
  friend bool operator==(const measured_timer&, const measured_timer&) = default;
};

struct measured_ipi {
  unsigned from = 0;
  unsigned to = 0;
  std::string verdict = {};
  std::string reason = {};
  latency_figures round_trips = {};
  friend bool operator==(const measured_ipi&, const measured_ipi&) = default;
};

struct measurement {
  std::uint64_t interval_ns = 0;  ///< of the timers
  std::string scheduling = {};    ///< "SCHED_FIFO 80"
  std::vector<measured_timer> timers = {};
  std::vector<measured_ipi> ipis = {};
  std::string no_ipis = {};  ///< why there are none, or not of all CPUs
  friend bool operator==(const measurement&, const measurement&) = default;
};

struct health_report {
  std::string time = {};  ///< "2026-11-23T03:04:05Z"
  guest_words guest = {};
  std::vector<finding> findings = {};
  event_counts events = {};
  std::vector<cpu_steal> steal = {};
  std::optional<std::uint32_t> incarnation = {};  ///< see xen::cpuid_facts
  std::optional<measurement> measured = {};
  friend bool operator==(const health_report&, const health_report&) = default;
};

/// With the findings of judge() and, if it was measured, of judge_measurement().
[[nodiscard]] health_report make_report(const examination& of, std::string time,
                                        std::optional<measurement> measured);

/// Whether what was measured is what it claims to be.
[[nodiscard]] std::vector<finding> judge_measurement(const measurement& of);

/// JSON of the schema xenpv-doctor.report, with a newline at the end; always valid.
[[nodiscard]] std::string to_json_text(const health_report& report);
/// The same back. Errors name the place in the document: anybody may have written it.
[[nodiscard]] result<health_report> parse_report(std::string_view json);

}  // namespace xenpv::diag
