#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ostream>

#include "commands.hpp"
#include "measure.hpp"
#include "print.hpp"
#include "write_file.hpp"
#include "xenpv/cli/value.hpp"
#include "xenpv/diag/health_page.hpp"
#include "xenpv/diag/health_report.hpp"
#include "xenpv/diag/prometheus.hpp"

namespace xenpv::doctor_app {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds shortest_measurement = std::chrono::seconds(1);
constexpr nanoseconds for_the_page = std::chrono::seconds(10);

struct examine_words {
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

/// The page is to have pictures; whoever only asks for rows wants them at once.
nanoseconds time_to_measure(const examine_words& words, const diag::reading_place& place) {
  if (place.is_capture && words.measure && words.measure->count() > 0)
    throw failure(errc::invalid_argument, "--measure in a capture",
                  "leave out --root, or --measure");
  if (place.is_capture) return {};
  return words.measure.value_or(words.html.empty() ? nanoseconds{} : for_the_page);
}

diag::health_report look(const examine_words& words) {
  const auto place = diag::place_at(words.root);
  const auto duration = time_to_measure(words, place);
  // First, so that what the measurement does to the counts is not in them.
  const auto examined = diag::examine(place);
  std::optional<diag::measurement> measured;
  if (duration.count() > 0) measured = measure(std::max(duration, shortest_measurement));
  return diag::make_report(examined, now_text(), std::move(measured));
}

int status_of(const diag::health_report& report, bool strict) {
  switch (diag::worst_of(report.findings)) {
    case diag::health::pass:
      return all_well;
    case diag::health::unknown:
      return strict ? warned : all_well;
    case diag::health::warn:
      return warned;
    case diag::health::fail:
      return failing;
  }
  return went_wrong;
}

cli::exit_code examine(const examine_words& words, std::ostream& out) {
  const auto report = look(words);
  if (!words.html.empty()) replace_file(words.html, diag::to_html(report));
  if (!words.prometheus.empty()) replace_file(words.prometheus, diag::to_prometheus(report));
  if (*words.json)
    out << diag::to_json_text(report);
  else
    print_rows(out, report, words.verbose);
  out.flush();
  tell_summary(report);
  return static_cast<cli::exit_code>(status_of(report, words.strict));
}

result<nanoseconds> as_measuring_time(std::string_view text, std::string_view what) {
  auto time = parse_duration(text, what);
  if (time && time->count() != 0 && *time < shortest_measurement)
    return make_error(errc::invalid_argument, fmt::format("{} '{}'", what, text),
                      "at least 1s, or 0 for none");
  return time;
}

}  // namespace

void set_up_examine(cli::app& app, bool& json) {
  static examine_words words;
  words.json = &json;
  app.root()
      .describe(
          "Looks at what Xen offers this domain and what the kernel makes of it: how events come "
          "in, timers, clock, IPIs, the spread of interrupts, event channels, PV disks, grants, "
          "stolen time, what a migration left behind. Each row is PASS, WARN, FAIL or UNKNOWN; "
          "below those that are not PASS stand the evidence, as it was read, and what to do. "
          "UNKNOWN means that it could not be seen from here: often root is what it takes.")
      .describe(
          "Runs anywhere: PV, PVH and HVM guests, domain 0, and elsewhere, where it says what it "
          "runs on and looks at what any machine has. Reads only, but for one page that it shares "
          "with domain 0 for an instant, to see whether sharing works.")
      .describe(
          "The exit status is that of the worst row, for scripts and monitoring. It differs from "
          "the other programs' of xenpv: 2 is FAIL here, and a wrong command line is 64.")
      .example("what is wrong here", "xenpv-doctor")
      .example("with all evidence, and timers and IPIs measured", "xenpv-doctor -v --measure 10s")
      .example("one page for a mail or a ticket", "xenpv-doctor --html guest.html")
      .example("what a change did",
               "xenpv-doctor --measure 30s --json > before.json; ...; "
               "xenpv-doctor --measure 30s --json > after.json; "
               "xenpv-doctor compare before.json after.json")
      .example("for node_exporter, every minute",
               "xenpv-doctor --prometheus /var/lib/node_exporter/textfile_collector/xenpv.prom")
      .flag("-v, --verbose", words.verbose, "show the evidence below all rows")
      .offers_json(json)
      .option("--html FILE", words.html,
              "also write a page that needs no other file: rows, balance, timers, IPIs",
              cli::as_text)
      .option("--prometheus FILE", words.prometheus,
              "also write metrics for the textfile collector; the file is replaced at once",
              cli::as_text)
      .option("--measure TIME", words.measure,
              "also measure timers and IPIs for about so long, 0 for not at all (default: 10s with "
              "--html, else 0)",
              as_measuring_time)
      .flag("--strict", words.strict, "a row that is UNKNOWN counts as WARN")
      .option("--root DIR", words.root,
              "look at the /proc and /sys in DIR, an unpacked capture (xenpv-evtchn capture), "
              "instead of this guest's",
              cli::as_text)
      .action([](std::ostream& out) { return examine(words, out); });
}

}  // namespace xenpv::doctor_app
