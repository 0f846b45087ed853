#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ostream>

#include "base/output_file.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "doctor/health_page.hpp"
#include "doctor/health_report.hpp"
#include "doctor/prometheus.hpp"
#include "measure.hpp"
#include "print.hpp"

namespace xenpv::doctor_app {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds shortest_measurement = std::chrono::seconds(1);
constexpr nanoseconds page_measurement = std::chrono::seconds(10);

struct examine_options {
  std::string root;
  std::string html;
  std::string prometheus;
  std::optional<std::string> label;
  std::optional<nanoseconds> measure;
  bool verbose = false;
  bool strict = false;
  const bool* json = nullptr;
};

examine_options& given_options() {
  static examine_options options;
  return options;
}

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

/// Captures do not contain the host name.
std::string name_of_guest(const examine_options& options, const channels::fact_source& source) {
  if (options.label || source.is_capture) return options.label.value_or("");
  const auto name = source.root.read("/proc/sys/kernel/hostname").value_or("");
  return name == "(none)" ? "" : name;
}

doctor::health_report build_report(const examine_options& options) {
  const auto source = doctor::source_at(options.root);
  const auto duration = time_to_measure(options, source);
  // Take the snapshot before the measurement, which changes the counts.
  const auto start = std::chrono::steady_clock::now();
  auto snapshot = doctor::take_snapshot(source);
  std::optional<doctor::measurement> measured;
  if (duration.count() > 0) {
    measured = measure(std::max(duration, shortest_measurement));
    doctor::extend_cpu_sample(snapshot, source, start);
  }
  auto report = doctor::make_report(snapshot, now_text(), std::move(measured));
  report.guest.name = name_of_guest(options, source);
  return report;
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
  const int printed = is_standard_output(options.html) + is_standard_output(options.prometheus);
  if (printed + *options.json > 1)
    throw failure(errc::invalid_argument, "several outputs to stdout",
                  "write all but one of --json, --html and --prometheus to files");
  const auto report = build_report(options);
  if (!options.html.empty())
    write_output(options.html, doctor::to_html(report), output_access::by_umask, out);
  if (!options.prometheus.empty())
    write_output(options.prometheus, doctor::to_prometheus(report), output_access::everyone, out);
  if (*options.json)
    out << doctor::to_json_text(report);
  else if (printed == 0)
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

std::string_view given_examine_option() noexcept {
  const auto& options = given_options();
  if (!options.html.empty()) return "--html";
  if (!options.prometheus.empty()) return "--prometheus";
  if (options.label) return "--label";
  if (options.measure) return "--measure";
  if (options.verbose) return "--verbose";
  if (options.strict) return "--strict";
  return options.root.empty() ? "" : "--root";
}

void set_up_examine(cli::app& app, bool& json) {
  static auto& options = given_options();
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
              "also write a self-contained page: rows, balance, timers, IPIs; -: instead of the "
              "rows, to stdout",
              cli::as_text)
      .option(
          "--prometheus FILE", options.prometheus,
          "also write metrics for the textfile collector; replaces the file atomically and makes "
          "it readable for everyone; -: instead of the rows, to stdout",
          cli::as_text)
      .option(
          "--label TEXT", options.label,
          "the guest's name in the page and in the JSON report (default: its host name, or none "
          "for a capture)",
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
