// Reports as JSON (round trip), HTML page and Prometheus metrics, and comparisons of reports.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>

#include "base/parse.hpp"
#include "doctor/health_change.hpp"
#include "doctor/health_page.hpp"
#include "doctor/health_report.hpp"
#include "doctor/prometheus.hpp"
#include "unit/channels/captured_tree.hpp"

namespace xenpv::doctor {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// Returns the figures of `rounds` rounds with `samples` samples each, from `center` nanoseconds to
/// 19% more. The rounds differ slightly.
probe::latency_figures figures_around(std::uint64_t center, std::uint64_t samples = 400,
                                      unsigned rounds = 5) {
  std::vector<fine_histogram> all(rounds);
  for (unsigned round = 0; round < rounds; ++round)
    for (std::uint64_t i = 0; i < samples; ++i)
      all[round].add(center + center * ((i * 7 + round * 3) % 20) / 100);
  return probe::figures_of(all);
}

measurement measured_at(std::uint64_t timer, std::uint64_t ipi) {
  measurement out{.interval_ns = 1'000'000, .scheduling = "SCHED_FIFO 80"};
  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    out.timers.push_back({.cpu = cpu, .verdict = "verified", .late = figures_around(timer)});
    for (unsigned target = 0; target < 2; ++target)
      out.ipis.push_back({.from = cpu,
                          .to = target,
                          .verdict = "verified",
                          .round_trips = figures_around(cpu == target ? 300 : ipi)});
  }
  return out;
}

health_report report_of(const std::string& capture, std::optional<measurement> measured = {}) {
  return make_report(take_snapshot(xenpv::test::captured_tree(capture).place()),
                     "2026-11-23T03:04:05Z", std::move(measured));
}

TEST(latency_figures, contain_steps_summary_and_rounds) {
  std::vector<fine_histogram> rounds(3);
  for (unsigned i = 0; i < 30; ++i) {
    rounds[0].add(1000);
    rounds[1].add(2000);
  }
  const auto figures = probe::figures_of(rounds);
  EXPECT_EQ(figures.summary.samples, 60U);
  ASSERT_EQ(figures.steps.size(), 2U);
  EXPECT_EQ(figures.steps[1], (probe::latency_step{.upper = 2000, .count = 30}));
  ASSERT_EQ(figures.rounds.size(), 2U);
  EXPECT_EQ(figures.rounds[0].samples, 30U);
  EXPECT_FALSE(figures.rounds[0].p99);
}

TEST(latency_figures, a_range_is_as_wide_as_the_rounds_and_absent_without_samples) {
  const auto range = probe::range_of(figures_around(10'000), 0.5).value();
  EXPECT_LE(range.low, range.value);
  EXPECT_GE(range.high, range.value);
  EXPECT_LT(range.high - range.low, range.value / 10);
  EXPECT_FALSE(range_of(figures_around(10'000, 10, 1), 0.99));
  auto moved = figures_around(10'000);
  moved.rounds[2].p50 = 30'000;
  EXPECT_EQ(range_of(moved, 0.5)->high, 30'000U);
}

TEST(health_report, survives_a_round_trip_through_json) {
  for (const auto* name : {"pv", "dom0", "hvm-intx", "cpus-64"}) {
    const auto report = report_of(name, measured_at(30'000, 5'000));
    const auto again = parse_report(to_json_text(report));
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(*again, report) << name;
  }
}

TEST(health_report, names_the_wrong_place_of_a_document) {
  const auto text = to_json_text(report_of("pv", measured_at(30'000, 5'000)));
  const auto error_with = [&](const std::string& old, const std::string& put) {
    auto changed = text;
    changed.replace(changed.find(old), old.size(), put);
    const auto report = parse_report(changed);
    return report ? std::string("accepted") : report.error().text;
  };
  EXPECT_EQ(parse_report("{").error().text, "read a report: invalid argument (not valid JSON)");
  EXPECT_EQ(parse_report("[]").error().text,
            "read a report: invalid argument (the document is not an object)");
  EXPECT_EQ(parse_report("{}").error().text, "read a report: invalid argument (schema is missing)");
  EXPECT_THAT(error_with("xenpv-doctor.report", "xenpv-evtchn.list"),
              HasSubstr("schema is not xenpv-doctor.report"));
  EXPECT_THAT(error_with("\"schema_version\": 1", "\"schema_version\": 2"),
              HasSubstr("schema_version is not 1"));
  EXPECT_THAT(error_with("\"verdict\": \"PASS\"", "\"verdict\": \"FINE\""),
              HasSubstr("rows[0].verdict is not PASS, UNKNOWN, WARN or FAIL"));
  EXPECT_THAT(error_with("\"samples\": 2000", "\"samples\": 2001"),
              HasSubstr("measured.timers[0].late_ns.histogram is not a histogram of all samples"));
  EXPECT_THAT(error_with("\"samples\": 2000", "\"samples\": -1"),
              HasSubstr("measured.timers[0].late_ns.samples is not a whole number"));
}

TEST(health_report, warns_of_measurements_that_the_counts_refute) {
  auto measured = measured_at(30'000, 5'000);
  EXPECT_EQ(worst_of(judge_measurement(measured)), health::pass);
  measured.ipis[1].verdict = "refuted";
  measured.ipis[1].reason = "431 of 5000 calls made an IPI";
  const auto results = judge_measurement(measured);
  EXPECT_EQ(results.at(1).verdict, health::warn);
  EXPECT_EQ(results.at(1).evidence.front().value,
            "1 of 4 pairs refuted: 431 of 5000 calls made an IPI");
  measured.timers[0].lost = 500;
  EXPECT_THAT(judge_measurement(measured).at(0).summary,
              HasSubstr("500 of 4000 periods were lost"));
}

TEST(comparison, finds_no_change_between_two_runs_of_the_same_guest) {
  const auto report = report_of("pv", measured_at(30'000, 5'000));
  auto other = report_of("pv", measured_at(30'300, 5'050));
  const auto result = compare(report, other);
  EXPECT_THAT(result.changes, IsEmpty());
  EXPECT_EQ(result.compared, 12U);
  EXPECT_EQ(result.within_noise, 12U);
  EXPECT_FALSE(result.got_worse());
}

TEST(comparison, finds_times_that_left_their_range_either_way) {
  const auto result = compare(report_of("pv", measured_at(30'000, 9'000)),
                              report_of("pv", measured_at(60'000, 5'000)));
  EXPECT_TRUE(result.got_worse());
  ASSERT_FALSE(result.changes.empty());
  EXPECT_EQ(result.changes.front().what, "timer of CPU 0, p50");
  EXPECT_EQ(result.changes.front().sense, change_sense::worse);
  EXPECT_EQ(result.changes.back().sense, change_sense::better);
  EXPECT_THAT(result.changes.back().what, HasSubstr("IPI from CPU 1 to CPU 0"));
}

TEST(comparison, treats_differences_between_rounds_as_noise) {
  auto before = measured_at(30'000, 5'000);
  before.timers[0].late.rounds[1].p50 = 70'000;
  const auto result = compare(report_of("pv", before), report_of("pv", measured_at(60'000, 5'000)));
  EXPECT_NE(result.changes.front().what, "timer of CPU 0, p50");
}

TEST(comparison, lists_values_that_cannot_be_compared) {
  auto refuted = measured_at(60'000, 5'000);
  refuted.timers[0].verdict = "refuted";
  const auto result =
      compare(report_of("pv", measured_at(30'000, 5'000)), report_of("pv", refuted));
  EXPECT_THAT(result.not_compared, ElementsAre("timer of CPU 0: verified before, refuted after"));
  auto other_way = measured_at(30'000, 5'000);
  other_way.scheduling = "SCHED_OTHER";
  EXPECT_THAT(
      compare(report_of("pv", measured_at(30'000, 5'000)), report_of("pv", other_way))
          .not_compared.front(),
      HasSubstr("measured with different settings (SCHED_FIFO 80 every 1.00 ms, SCHED_OTHER"));
  EXPECT_THAT(compare(report_of("pv"), report_of("pv")).not_compared.front(),
              HasSubstr("--measure"));
}

TEST(comparison, distinguishes_rows_that_got_worse_from_other_changes) {
  const auto result = compare(report_of("hvm-vector"), report_of("hvm-intx"));
  EXPECT_EQ(result.changes.front().what, "row upcall");
  EXPECT_EQ(result.changes.front().sense, change_sense::worse);
  EXPECT_THAT(result.changes.front().before, HasSubstr("PASS: "));
  for (const auto& change : compare(report_of("hvm-intx"), report_of("hvm-vector")).changes)
    EXPECT_TRUE(change.what != "row upcall" || change.sense == change_sense::better);
}

TEST(health_page, contains_rows_and_charts_and_no_external_resources) {
  const auto page = to_html(report_of("pv", measured_at(30'000, 5'000)));
  EXPECT_THAT(page, HasSubstr("PV guest on Xen 4.17.7"));
  EXPECT_THAT(page, HasSubstr("<polyline class=\"curve curve1\""));
  EXPECT_THAT(page, HasSubstr("<table class=\"heat\">"));
  for (const auto* text : {"http:", "https:", "<script", "url(", "@import", "src="})
    EXPECT_THAT(page, Not(HasSubstr(text)));
}

TEST(health_page, heat_map_of_similar_values_has_similar_colours) {
  const auto page = to_html(report_of("pv", measured_at(30'000, 5'000)));
  EXPECT_THAT(page, Not(HasSubstr("background-color:#440154")));
}

TEST(health_page, names_the_guest) {
  auto report = report_of("pv");
  report.guest.name = "web<1>";
  const auto page = to_html(report);
  EXPECT_THAT(page, HasSubstr("<title>web&lt;1&gt;: PV guest on Xen 4.17.7"));
  EXPECT_THAT(page, HasSubstr("<h1>web&lt;1&gt;</h1>"));
}

TEST(health_page, folds_unknown_rows_with_one_cause) {
  health_report report;
  report.check_results = {{.id = "a", .summary = "a is unknown", .remedy = "run as root"},
                          {.id = "b", .verdict = health::pass, .summary = "b is good"},
                          {.id = "c", .summary = "c is unknown", .remedy = "run as root"}};
  const auto page = to_html(report);
  EXPECT_THAT(page,
              HasSubstr("<details class=\"fold unknown\"><summary>2 checks could not be made: "
                        "a, c<span class=\"cure\">run as root</span></summary>"));
  EXPECT_EQ(page.find("run as root"), page.rfind("run as root"));
  EXPECT_THAT(page, HasSubstr("id=\"a\""));
  EXPECT_THAT(page, HasSubstr("id=\"c\""));
}

TEST(health_page, does_not_repeat_evidence_as_remedy) {
  health_report report;
  report.check_results = {{.id = "a",
                           .verdict = health::warn,
                           .summary = "a is odd",
                           .evidence = {{.source = "log", .value = "boot with x=1"}},
                           .remedy = "boot with x=1"}};
  const auto page = to_html(report);
  EXPECT_EQ(page.find("boot with x=1"), page.rfind("boot with x=1"));
}

TEST(health_page, groups_the_digits_of_counts) {
  health_report report;
  report.events = {.cpus = {0}, .kinds = {{.kind = "timer", .counts = {1234567}}}};
  EXPECT_THAT(to_html(report), HasSubstr("<span>1\u202f234\u202f567</span>"));
}

TEST(health_page, explains_the_colours_of_the_heat_map) {
  const auto page = to_html(report_of("pv", measured_at(30'000, 5'000)));
  EXPECT_THAT(page, HasSubstr("<div class=\"scale\""));
  // The diagonal sends no IPI, so it is not coloured.
  EXPECT_THAT(page, HasSubstr("<td class=\"self\""));
}

/// Returns a report on a guest with `cpus` CPUs on two sockets, all measured.
health_report report_with_cpus(unsigned cpus) {
  auto report = report_of("cpus-64");
  report.guest.name = fmt::format("guest with {} CPUs", cpus);
  measurement measured{.interval_ns = 1'000'000, .scheduling = "SCHED_FIFO 80"};
  event_counts events;
  events.kinds = {{.kind = "timer"}, {.kind = "device"}, {.kind = "callfuncsingle"}};
  for (unsigned cpu = 0; cpu < cpus; ++cpu) {
    measured.timers.push_back(
        {.cpu = cpu, .verdict = "verified", .late = figures_around(20'000 + cpu * 700)});
    events.cpus.push_back(cpu);
    events.kinds[0].counts.push_back(5'123'456 + cpu * 1000);
    events.kinds[1].counts.push_back(cpu == 0 ? 98'765'432 : cpu % 7 * 200'000);
    events.kinds[2].counts.push_back(cpu % 3 * 1'000'000);
    for (unsigned to = 0; to < cpus; ++to) {
      const bool is_near = cpu / 32 == to / 32;
      measured.ipis.push_back({.from = cpu,
                               .to = to,
                               .verdict = (cpu + 3 * to) % 17 == 5 ? "unverified" : "verified",
                               .round_trips = figures_around(cpu == to ? 300
                                                             : is_near ? 4'000 + to * 50
                                                                       : 19'000,
                                                             40, 1)});
    }
  }
  report.events = std::move(events);
  report.measured = std::move(measured);
  return report;
}

/// Writes a document to XENPV_TEST_OUTPUT, if set: interop/doctor_page.sh shows it in a browser.
void keep_page(const std::string& name, const std::string& document) {
  if (const char* const directory = std::getenv("XENPV_TEST_OUTPUT"))
    std::ofstream(std::string(directory) + "/" + name) << document;
}

TEST(health_page, labels_the_cells_of_a_small_map) {
  for (const unsigned cpus : {2U, 8U}) {
    const auto page = to_html(report_with_cpus(cpus));
    keep_page(fmt::format("cpus-{}.html", cpus), page);
    EXPECT_THAT(page, HasSubstr("<table class=\"heat\">"));
    EXPECT_THAT(page, HasSubstr(" us</td>"));
    EXPECT_THAT(page, Not(HasSubstr(" others</li>")));
  }
}

TEST(health_page, shows_64_cpus_in_a_compact_map) {
  const auto page = to_html(report_with_cpus(64));
  keep_page("cpus-64.html", page);
  EXPECT_THAT(page, HasSubstr("<table class=\"heat many\">"));
  EXPECT_THAT(page, HasSubstr("title=\"CPU 3 to CPU 5: median 4."));
  EXPECT_THAT(page, HasSubstr("<summary>the figures of 64 CPUs</summary>"));
  EXPECT_THAT(page, HasSubstr("<i class=\"rest\"></i>56 others</li>"));
}

TEST(health_page, escapes_text_from_outside) {
  auto report = report_of("pv");
  report.check_results.front().summary = "<script>alert(1)</script> & \"x\"";
  report.guest.kernel = "6.1\"><img src=x>";
  const auto page = to_html(report);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot;"));
}

TEST(health_page, tolerates_missing_measurements_events_and_samples) {
  EXPECT_THAT(to_html({}), HasSubstr("</html>"));
  measurement empty;
  empty.timers = {{.cpu = 0, .verdict = "failed"}};
  empty.ipis = {{.from = 0, .to = 1, .verdict = "failed"}};
  auto report = report_of("pv");
  report.measured = empty;
  EXPECT_THAT(to_html(report), HasSubstr("failed"));
}

TEST(prometheus, has_few_series_with_conventional_names) {
  auto report = report_of("pvh", measured_at(30'000, 5'000));
  report.incarnation = 3;
  const auto text = to_prometheus(report);
  EXPECT_THAT(
      text,
      HasSubstr("xenpv_guest_info{type=\"PVH\",control_domain=\"0\",xen_version=\"4.17.7\","));
  EXPECT_THAT(text, HasSubstr("xenpv_events_total{cpu=\"0\",kind=\"timer\"} 5173\n"));
  EXPECT_THAT(text, HasSubstr("xenpv_upcalls_total{cpu=\"1\"} 6489\n"));
  EXPECT_THAT(text, HasSubstr("xenpv_migrations_total 2\n"));
  EXPECT_THAT(text,
              HasSubstr("xenpv_timer_latency_seconds_bucket{cpu=\"0\",le=\"0.0001\"} 2000\n"));
  EXPECT_THAT(text, HasSubstr("xenpv_timer_latency_seconds_count{cpu=\"1\"} 2000\n"));
  EXPECT_THAT(text, Not(HasSubstr("blkif")));
}

TEST(prometheus, names_begin_with_the_same_prefix) {
  const auto text = to_prometheus(report_of("pvh", measured_at(30'000, 5'000)));
  for (const auto line : split(text, '\n')) {
    if (line.empty()) continue;
    EXPECT_TRUE(line.starts_with("xenpv_") || line.starts_with("# HELP xenpv_") ||
                line.starts_with("# TYPE xenpv_"))
        << line;
  }
}

TEST(prometheus, has_the_time_of_the_run) {
  health_report report{.time = "2026-11-23T03:04:05Z"};
  EXPECT_THAT(to_prometheus(report),
              HasSubstr("# TYPE xenpv_doctor_last_run_timestamp_seconds gauge\n"
                        "xenpv_doctor_last_run_timestamp_seconds 1795403045\n"));
  report.time = "yesterday";
  EXPECT_THAT(to_prometheus(report), Not(HasSubstr("timestamp")));
}

TEST(prometheus, verdicts_are_in_the_order_of_their_severity) {
  health_report report;
  report.check_results = {{.id = "a", .verdict = health::pass},
                          {.id = "b", .verdict = health::unknown},
                          {.id = "c", .verdict = health::warn},
                          {.id = "d", .verdict = health::fail}};
  EXPECT_THAT(to_prometheus(report), HasSubstr("xenpv_doctor_row{row=\"a\"} 0\n"
                                               "xenpv_doctor_row{row=\"b\"} 1\n"
                                               "xenpv_doctor_row{row=\"c\"} 2\n"
                                               "xenpv_doctor_row{row=\"d\"} 3\n"));
}

TEST(prometheus, escapes_labels) {
  health_report report;
  report.guest.clocksource = "a\"b\\c\nd";
  EXPECT_THAT(to_prometheus(report), HasSubstr("clocksource=\"a\\\"b\\\\c\\nd\""));
}

}  // namespace
}  // namespace xenpv::doctor
