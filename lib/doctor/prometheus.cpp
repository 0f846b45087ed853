#include "doctor/prometheus.hpp"

#include <fmt/format.h>

#include <array>

namespace xenpv::doctor {
namespace {

constexpr std::uint64_t ticks_per_second = 100;  ///< USER_HZ

/// Escapes a label value (exposition format); replaces newlines with spaces.
std::string label(std::string_view text) {
  std::string out;
  for (const char character : text) {
    if (character == '\\' || character == '"') out += '\\';
    out += character == '\n' ? ' ' : character;
  }
  return out;
}

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void add_info(const health_report& report, std::string& out) {
  head(out, "xen_guest_info", "gauge", "Properties of this domain; the value is always 1.");
  const auto& guest = report.guest;
  out += fmt::format(
      "xen_guest_info{{type=\"{}\",control_domain=\"{}\",xen_version=\"{}\",abi=\"{}\",callback=\"{"
      "}\","
      "clocksource=\"{}\",clockevent=\"{}\"}} 1\n",
      label(guest.type), guest.control_domain ? 1 : 0, label(guest.xen_version),
      label(guest.event_abi), label(guest.upcall), label(guest.clocksource),
      label(guest.clockevent));
}

void add_rows(const health_report& report, std::string& out) {
  head(out, "xen_doctor_row", "gauge", "Verdict of a row: 0 PASS, 1 WARN, 2 FAIL, 3 UNKNOWN.");
  for (const auto& result : report.check_results) {
    const int value = result.verdict == health::pass   ? 0
                      : result.verdict == health::warn ? 1
                      : result.verdict == health::fail ? 2
                                                       : 3;
    out += fmt::format("xen_doctor_row{{row=\"{}\"}} {}\n", label(result.id), value);
  }
}

void add_events(const event_counts& events, std::string& out) {
  if (events.kinds.empty()) return;
  head(out, "xen_events_total", "counter", "Events since boot, by CPU and kind.");
  std::vector<std::uint64_t> sums(events.cpus.size());
  for (const auto& kind : events.kinds) {
    channels::add_counts(sums, kind.counts);
    for (std::size_t i = 0; i < events.cpus.size(); ++i)
      out += fmt::format("xen_events_total{{cpu=\"{}\",kind=\"{}\"}} {}\n", events.cpus[i],
                         label(kind.kind), kind.counts[i]);
  }
  const auto all = channels::sum_of(sums);
  head(out, "xen_event_cpu_share", "gauge",
       "Share of all events since boot that arrived on this CPU, 0 to 1.");
  for (std::size_t i = 0; i < events.cpus.size(); ++i)
    out += fmt::format("xen_event_cpu_share{{cpu=\"{}\"}} {:.6f}\n", events.cpus[i],
                       all == 0 ? 0.0 : static_cast<double>(sums[i]) / static_cast<double>(all));
  if (events.upcalls.empty()) return;
  head(out, "xen_upcalls_total", "counter", "Upcalls through the callback vector since boot.");
  for (std::size_t i = 0; i < events.cpus.size(); ++i)
    out += fmt::format("xen_upcalls_total{{cpu=\"{}\"}} {}\n", events.cpus[i], events.upcalls[i]);
}

void add_time(const health_report& report, std::string& out) {
  if (!report.steal.empty())
    head(out, "xen_steal_seconds_total", "counter",
         "Time the hypervisor did not run a ready vCPU.");
  for (const auto& steal : report.steal)
    out += fmt::format("xen_steal_seconds_total{{cpu=\"{}\"}} {}.{:02}\n", steal.cpu,
                       steal.ticks / ticks_per_second, steal.ticks % ticks_per_second);
  if (!report.incarnation) return;
  // The incarnation of a newly built domain is 1; domain 0 and very old hypervisors report 0.
  head(out, "xen_migrations_total", "counter",
       "Migrations and restores since the domain was built.");
  out += fmt::format("xen_migrations_total {}\n",
                     *report.incarnation > 1 ? *report.incarnation - 1 : 0);
}

void add_timers(const measurement& measured, std::string& out) {
  constexpr auto bounds =
      std::to_array<std::uint64_t>({10'000, 20'000, 50'000, 100'000, 200'000, 500'000, 1'000'000,
                                    5'000'000, 20'000'000, 100'000'000});
  head(out, "xen_timer_latency_seconds", "histogram", "Timer lateness in the last measurement.");
  for (const auto& timer : measured.timers) {
    for (const auto bound : bounds) {
      std::uint64_t within = 0;
      for (const auto& step : timer.late.steps)
        if (step.upper <= bound) within += step.count;
      out += fmt::format("xen_timer_latency_seconds_bucket{{cpu=\"{}\",le=\"{}\"}} {}\n", timer.cpu,
                         static_cast<double>(bound) / 1e9, within);
    }
    const auto& summary = timer.late.summary;
    out += fmt::format(
        "xen_timer_latency_seconds_bucket{{cpu=\"{0}\",le=\"+Inf\"}} {1}\n"
        "xen_timer_latency_seconds_sum{{cpu=\"{0}\"}} {2:.9f}\n"
        "xen_timer_latency_seconds_count{{cpu=\"{0}\"}} {1}\n",
        timer.cpu, summary.samples, summary.mean * static_cast<double>(summary.samples) / 1e9);
  }
}

}  // namespace

std::string to_prometheus(const health_report& report) {
  std::string out;
  add_info(report, out);
  add_rows(report, out);
  add_events(report.events, out);
  add_time(report, out);
  if (report.measured && !report.measured->timers.empty()) add_timers(*report.measured, out);
  return out;
}

}  // namespace xenpv::doctor
