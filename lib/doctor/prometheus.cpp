#include "doctor/prometheus.hpp"

#include <fmt/format.h>
#include <time.h>

#include <array>
#include <optional>
#include <utility>

#include "base/prometheus_text.hpp"

namespace xenpv::doctor {
namespace {

constexpr std::uint64_t tick_ns = 10'000'000;  ///< at USER_HZ 100

std::string cpu_label(unsigned cpu) {
  return metric_label("cpu", fmt::format("{}", cpu));
}

/// Appends a sample with the given labels, or with none.
template <class Value>
void add_sample(std::string& out, std::string_view name, std::string_view labels,
                const Value& value) {
  out += labels.empty() ? fmt::format("{} {}\n", name, value)
                        : fmt::format("{}{{{}}} {}\n", name, labels, value);
}

/// Parses health_report::time. Returns the seconds since the epoch, or nullopt if it is not a time.
std::optional<std::int64_t> seconds_of(const std::string& time) {
  tm parts{};
  const char* const end = ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return ::timegm(&parts);
}

void add_run(const health_report& report, std::string& out) {
  const auto seconds = seconds_of(report.time);
  if (!seconds) return;
  constexpr std::string_view name = "xenpv_doctor_last_run_timestamp_seconds";
  add_metric_header(out, name, metric_type::gauge, "Time of this examination of the guest.");
  add_sample(out, name, {}, *seconds);
}

void add_info(const health_report& report, std::string& out) {
  constexpr std::string_view name = "xenpv_guest_info";
  add_metric_header(out, name, metric_type::gauge,
                    "Properties of this domain; the value is always 1.");
  const auto& guest = report.guest;
  const auto labels = std::to_array<std::pair<std::string_view, std::string_view>>(
      {{"type", guest.type},
       {"control_domain", guest.control_domain ? "1" : "0"},
       {"xen_version", guest.xen_version},
       {"abi", guest.event_abi},
       {"callback", guest.upcall},
       {"clocksource", guest.clocksource},
       {"clockevent", guest.clockevent}});
  std::string text;
  for (const auto& [key, value] : labels) {
    if (!text.empty()) text += ',';
    text += metric_label(key, value);
  }
  add_sample(out, name, text, 1);
}

/// The order of the values is that of enum health, so that rules can compare them.
void add_rows(const health_report& report, std::string& out) {
  if (report.check_results.empty()) return;
  constexpr std::string_view name = "xenpv_doctor_row";
  add_metric_header(out, name, metric_type::gauge,
                    "Verdict of a row: 0 PASS, 1 UNKNOWN, 2 WARN, 3 FAIL.");
  for (const auto& result : report.check_results)
    add_sample(out, name, metric_label("row", result.id), static_cast<int>(result.verdict));
}

void add_events(const event_counts& events, std::string& out) {
  if (events.kinds.empty()) return;
  constexpr std::string_view total = "xenpv_events_total";
  add_metric_header(out, total, metric_type::counter, "Events since boot, by CPU and kind.");
  std::vector<std::uint64_t> sums(events.cpus.size());
  for (const auto& kind : events.kinds) {
    channels::add_counts(sums, kind.counts);
    for (std::size_t i = 0; i < events.cpus.size(); ++i)
      add_sample(out, total, cpu_label(events.cpus[i]) + "," + metric_label("kind", kind.kind),
                 kind.counts[i]);
  }
  const auto all = channels::sum_of(sums);
  constexpr std::string_view share = "xenpv_event_cpu_share";
  add_metric_header(out, share, metric_type::gauge,
                    "Share of all events since boot that arrived on this CPU, 0 to 1.");
  for (std::size_t i = 0; i < events.cpus.size(); ++i)
    add_sample(
        out, share, cpu_label(events.cpus[i]),
        fmt::format("{:.6f}",
                    all == 0 ? 0.0 : static_cast<double>(sums[i]) / static_cast<double>(all)));
  if (events.upcalls.empty()) return;
  constexpr std::string_view upcalls = "xenpv_upcalls_total";
  add_metric_header(out, upcalls, metric_type::counter,
                    "Upcalls through the callback vector since boot.");
  for (std::size_t i = 0; i < events.cpus.size(); ++i)
    add_sample(out, upcalls, cpu_label(events.cpus[i]), events.upcalls[i]);
}

void add_time(const health_report& report, std::string& out) {
  constexpr std::string_view stolen = "xenpv_steal_seconds_total";
  if (!report.steal.empty())
    add_metric_header(out, stolen, metric_type::counter,
                      "Time the hypervisor did not run a ready vCPU.");
  for (const auto& steal : report.steal)
    add_sample(out, stolen, cpu_label(steal.cpu), metric_seconds(steal.ticks * tick_ns));
  if (!report.incarnation) return;
  // The incarnation of a newly built domain is 1; domain 0 and very old hypervisors report 0.
  constexpr std::string_view migrations = "xenpv_migrations_total";
  add_metric_header(out, migrations, metric_type::counter,
                    "Migrations and restores since the domain was built.");
  add_sample(out, migrations, {}, *report.incarnation > 1 ? *report.incarnation - 1 : 0);
}

void add_timers(const measurement& measured, std::string& out) {
  constexpr auto bounds =
      std::to_array<std::uint64_t>({10'000, 20'000, 50'000, 100'000, 200'000, 500'000, 1'000'000,
                                    5'000'000, 20'000'000, 100'000'000});
  add_metric_header(out, "xenpv_timer_latency_seconds", metric_type::buckets,
                    "Timer lateness in the last measurement.");
  for (const auto& timer : measured.timers) {
    const auto cpu = cpu_label(timer.cpu);
    const auto add_bucket = [&](std::string_view bound, std::uint64_t within) {
      add_sample(out, "xenpv_timer_latency_seconds_bucket", cpu + "," + metric_label("le", bound),
                 within);
    };
    for (const auto bound : bounds) {
      std::uint64_t within = 0;
      for (const auto& step : timer.late.steps)
        if (step.upper <= bound) within += step.count;
      add_bucket(metric_seconds(bound), within);
    }
    const auto& summary = timer.late.summary;
    add_bucket("+Inf", summary.samples);
    add_sample(out, "xenpv_timer_latency_seconds_sum", cpu,
               fmt::format("{:.9f}", summary.mean * static_cast<double>(summary.samples) / 1e9));
    add_sample(out, "xenpv_timer_latency_seconds_count", cpu, summary.samples);
  }
}

}  // namespace

std::string to_prometheus(const health_report& report) {
  std::string out;
  add_run(report, out);
  add_info(report, out);
  add_rows(report, out);
  add_events(report.events, out);
  add_time(report, out);
  if (report.measured && !report.measured->timers.empty()) add_timers(*report.measured, out);
  return out;
}

}  // namespace xenpv::doctor
