// Reports as JSON (round trip), HTML page and Prometheus metrics, and comparisons of reports.
#include <fmt/format.h>
#include <gmock/gmock.h>

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
      text, HasSubstr("xen_guest_info{type=\"PVH\",control_domain=\"0\",xen_version=\"4.17.7\","));
  EXPECT_THAT(text, HasSubstr("xen_events_total{cpu=\"0\",kind=\"timer\"} 5173\n"));
  EXPECT_THAT(text, HasSubstr("xen_upcalls_total{cpu=\"1\"} 6489\n"));
  EXPECT_THAT(text, HasSubstr("xen_doctor_row{row=\"upcall\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("xen_migrations_total 2\n"));
  EXPECT_THAT(text, HasSubstr("xen_timer_latency_seconds_bucket{cpu=\"0\",le=\"0.0001\"} 2000\n"));
  EXPECT_THAT(text, HasSubstr("xen_timer_latency_seconds_count{cpu=\"1\"} 2000\n"));
  EXPECT_THAT(text, Not(HasSubstr("blkif")));
}

TEST(prometheus, escapes_labels) {
  health_report report;
  report.guest.clocksource = "a\"b\\c\nd";
  EXPECT_THAT(to_prometheus(report), HasSubstr("clocksource=\"a\\\"b\\\\c d\""));
}

}  // namespace
}  // namespace xenpv::doctor
