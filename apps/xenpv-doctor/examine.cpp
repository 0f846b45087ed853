#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ostream>

#include "cli/value.hpp"
#include "commands.hpp"
#include "doctor/health_page.hpp"
#include "doctor/health_report.hpp"
#include "doctor/prometheus.hpp"
#include "measure.hpp"
#include "print.hpp"
#include "write_file.hpp"

namespace xenpv::doctor_app {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds shortest_measurement = std::chrono::seconds(1);
constexpr nanoseconds page_measurement = std::chrono::seconds(10);

struct examine_options {
  std::string root;
  std::string html;
  std::string prometheus;
  std::optional<nanoseconds> measure;
  bool verbose = false;
  bool strict = false;
  const bool* json = nullptr;
};

std::string now_text() {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return fmt::format("{:%FT%TZ}", fmt::gmtime(now));
}

/// The HTML page contains charts, so it includes a measurement by default. Without the page, the
/// default is to print the rows immediately.
nanoseconds time_to_measure(const examine_options& options, const channels::fact_source& source) {
  if (source.is_capture && options.measure && options.measure->count() > 0)
    throw failure(errc::invalid_argument, "--measure with a capture", "omit --root or --measure");
  if (source.is_capture) return {};
  return options.measure.value_or(options.html.empty() ? nanoseconds{} : page_measurement);
}

doctor::health_report build_report(const examine_options& options) {
  const auto source = channels::place_at(options.root);
  const auto duration = time_to_measure(options, source);
  // Take the snapshot before the measurement, which changes the counts.
  const auto snapshot = doctor::take_snapshot(source);
  std::optional<doctor::measurement> measured;
  if (duration.count() > 0) measured = measure(std::max(duration, shortest_measurement));
  return doctor::make_report(snapshot, now_text(), std::move(measured));
}

int status_of(const doctor::health_report& report, bool strict) {
  switch (doctor::worst_of(report.check_results)) {
    case doctor::health::pass:
      return healthy;
    case doctor::health::unknown:
      return strict ? warned : healthy;
    case doctor::health::warn:
      return warned;
    case doctor::health::fail:
      return failing;
  }
  return internal_error;
}

cli::exit_code examine(const examine_options& options, std::ostream& out) {
  const auto report = build_report(options);
  if (!options.html.empty()) replace_file(options.html, doctor::to_html(report));
  if (!options.prometheus.empty()) replace_file(options.prometheus, doctor::to_prometheus(report));
  if (*options.json)
    out << doctor::to_json_text(report);
  else
    print_rows(out, report, options.verbose);
  out.flush();
  print_summary(report);
  return static_cast<cli::exit_code>(status_of(report, options.strict));
}

result<nanoseconds> as_measuring_time(std::string_view text, std::string_view name) {
  auto time = parse_duration(text, name);
  if (time && time->count() != 0 && *time < shortest_measurement)
    return make_error(errc::invalid_argument, fmt::format("{} '{}'", name, text),
                      "expected at least 1s, or 0 to measure nothing");
  return time;
}

}  // namespace

void set_up_examine(cli::app& app, bool& json) {
  static examine_options options;
  options.json = &json;
  app.root()
      .describe(
          "Checks the features that Xen offers this domain and how the kernel uses them; section "
          "ROWS of the man page lists the checks. Each row is PASS, WARN, FAIL or UNKNOWN; rows "
          "other than PASS show their evidence and a remedy. UNKNOWN means that the facts could "
          "not be read, often because root privileges are missing.")
      .describe(
          "Runs anywhere: in PV, PVH and HVM guests, in domain 0, and without Xen, where it "
          "reports the platform and checks only what applies to any machine. It only reads, except "
          "that it briefly shares one page with domain 0 to test grants.")
      .describe(
          "The exit status is determined by the worst row, for scripts and monitoring. Unlike in "
          "xenpv's other programs, 2 means FAIL, and a usage error is 64.")
      .example("check this guest", "xenpv-doctor")
      .example("show all evidence, and measure timers and IPIs", "xenpv-doctor -v --measure 10s")
      .example("write a page to attach to an email or ticket", "xenpv-doctor --html guest.html")
      .example("see the effect of a change",
               "xenpv-doctor --measure 30s --json > before.json; ...; "
               "xenpv-doctor --measure 30s --json > after.json; "
               "xenpv-doctor compare before.json after.json")
      .example("write metrics for node_exporter, every minute",
               "xenpv-doctor --prometheus /var/lib/node_exporter/textfile_collector/xenpv.prom")
      .flag("-v, --verbose", options.verbose, "show the evidence of all rows")
      .offers_json(json)
      .option("--html FILE", options.html,
              "also write a self-contained page: rows, balance, timers, IPIs", cli::as_text)
      .option("--prometheus FILE", options.prometheus,
              "also write metrics for the textfile collector; replaces the file atomically",
              cli::as_text)
      .option("--measure TIME", options.measure,
              "also measure timers and IPIs for about this time, 0 for no measurement (default: "
              "10s with --html, else 0)",
              as_measuring_time)
      .flag("--strict", options.strict, "treat UNKNOWN as WARN")
      .option("--root DIR", options.root,
              "read /proc and /sys from DIR, an unpacked capture (xenpv-evtchn capture), instead "
              "of this guest",
              cli::as_text)
      .action([](std::ostream& out) { return examine(options, out); });
}

}  // namespace xenpv::doctor_app
