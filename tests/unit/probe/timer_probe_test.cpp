// Tests the schedule, the evidence and the split without a timer, then each method with this
// machine's timers.
#include "probe/timer_probe.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "channels/raw_facts.hpp"
#include "probe/periods.hpp"
#include "probe/timer_evidence.hpp"
#include "probe/timer_run.hpp"
#include "probe/trace_split.hpp"
#include "unit/channels/captured_tree.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(periods, with_timely_wake_ups_are_due_one_after_the_other) {
  periods schedule(100us, 10us, 0);
  schedule.woke(103us);
  EXPECT_EQ(schedule.due(), 110us);
  schedule.woke(119us);
  EXPECT_EQ(schedule.due(), 120us);
  EXPECT_EQ(schedule.wake_ups(), 2U);
  EXPECT_EQ(schedule.lost(), 0U);
  EXPECT_EQ(schedule.lateness().min(), 3000U);
  EXPECT_EQ(schedule.lateness().max(), 9000U);
}

TEST(periods, that_passed_before_a_late_wake_up_are_lost_but_counted) {
  periods schedule(100us, 10us, 0);
  // The wake-up was due at 100. The periods due at 110 and 120 have passed as well.
  schedule.woke(125us);
  EXPECT_EQ(schedule.due(), 130us);
  EXPECT_EQ(schedule.wake_ups(), 1U);
  EXPECT_EQ(schedule.lost(), 2U);
  EXPECT_EQ(schedule.lateness().count(), 3U);
  EXPECT_EQ(schedule.lateness().sum(), 25000U + 15000U + 5000U);
  // A tool that ignores lost periods would report these statistics.
  EXPECT_EQ(schedule.wake_lateness().count(), 1U);
  EXPECT_EQ(schedule.wake_lateness().sum(), 25000U);
}

TEST(periods, handled_at_the_moment_of_the_next_lose_that_one) {
  periods schedule(100us, 10us, 0);
  schedule.woke(110us);
  EXPECT_EQ(schedule.due(), 120us);
  EXPECT_EQ(schedule.lost(), 1U);
}

TEST(periods, counted_by_a_timerfd_may_be_fewer_than_the_clock_says) {
  periods schedule(100us, 10us, 0);
  // The timerfd was read after one period; the next one passed before the clock was read.
  schedule.woke(111us, 1);
  EXPECT_EQ(schedule.due(), 110us);
  schedule.woke(112us, 1);
  EXPECT_EQ(schedule.due(), 120us);
  EXPECT_EQ(schedule.lost(), 0U);
  EXPECT_EQ(schedule.lateness().sum(), 11000U + 2000U);
}

TEST(periods, of_the_warm_up_are_not_counted) {
  periods schedule(100us, 10us, 2, 10);
  schedule.woke(500us);
  schedule.woke(501us);
  EXPECT_EQ(schedule.lateness().count(), 0U);
  EXPECT_EQ(schedule.lost(), 0U);
  schedule.woke(523us);
  EXPECT_EQ(schedule.warmed_up(), 2U);
  EXPECT_EQ(schedule.wake_ups(), 1U);
  ASSERT_EQ(schedule.kept().size(), 1U);
  EXPECT_EQ(schedule.kept()[0].due, 520us);
  EXPECT_EQ(schedule.kept()[0].woke, 523us);
}

TEST(periods, woken_early_by_a_coarse_clock_are_on_time) {
  periods schedule(100us, 10us, 0);
  schedule.woke(99us);
  EXPECT_EQ(schedule.lateness().max(), 0U);
  EXPECT_EQ(schedule.due(), 110us);
}

timer_result woken(std::uint64_t wake_ups) {
  timer_result out;
  out.cpu = 1;
  out.wake_ups = wake_ups;
  out.warm_up = 8;
  return out;
}

timer_evidence pv_evidence(std::uint64_t events) {
  return {.device = "xen", .timer_events = events, .timer_elsewhere = 0, .local_interrupts = 0};
}

TEST(timer_evidence, is_read_from_the_rows_of_the_cpu) {
  const auto before = channels::parse_interrupts(
      "  CPU0 CPU1\n 0: 10 0 xen-percpu -virq timer0\n 5: 0 20 xen-percpu -virq timer1\n"
      "LOC: 0 7 Local timer interrupts\n");
  const auto after = channels::parse_interrupts(
      "  CPU0 CPU1\n 0: 99 0 xen-percpu -virq timer0\n 5: 3 1020 xen-percpu -virq timer1\n"
      "LOC: 50 8 Local timer interrupts\n");
  auto out = woken(0);
  count_timers(*before, *after, out);
  EXPECT_EQ(out.evidence.timer_events, 1000U);
  EXPECT_EQ(out.evidence.timer_elsewhere, 3U);
  EXPECT_EQ(out.evidence.local_interrupts, 1U);
}

TEST(timer_evidence, of_an_event_for_each_wake_up_verifies) {
  auto out = woken(1000);
  out.evidence = pv_evidence(1008);
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::verified);
  EXPECT_THAT(out.reasons, ElementsAre("1008 wake-ups, and row timer1 counted 1008"));
}

TEST(timer_evidence, of_fewer_events_than_wake_ups_refutes) {
  auto out = woken(1000);
  out.evidence = pv_evidence(1007);
  judge_timer(out, timer_method::timerfd, true);
  EXPECT_EQ(out.verdict, probe_verdict::refuted);
  EXPECT_THAT(out.reasons, ElementsAre("1008 wake-ups, and row timer1 counted 1007"));
}

TEST(timer_evidence, of_an_emulated_timer_refutes_on_xen) {
  auto out = woken(1000);
  out.evidence = {.device = "lapic", .local_interrupts = 2000};
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::refuted);
  EXPECT_THAT(out.reasons, ElementsAre("the timer of CPU 1 is 'lapic', not the PV timer"));
}

TEST(timer_evidence, of_a_local_apic_that_fires_besides_the_pv_timer_refutes) {
  auto out = woken(1000);
  out.evidence = pv_evidence(2000);
  out.evidence.local_interrupts = 4;
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::refuted);
  EXPECT_EQ(out.reasons.back(),
            "the local APIC timer (row LOC) fired 4 times during the measurement");
}

TEST(timer_evidence, that_is_missing_leaves_the_result_unverified) {
  auto out = woken(1000);
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::unverified);
  EXPECT_THAT(out.reasons, ElementsAre("no row timer1 to compare with"));
}

TEST(timer_evidence, off_xen_comes_from_the_local_apic) {
  auto out = woken(1000);
  out.evidence = {.device = "lapic-deadline", .local_interrupts = 1300};
  judge_timer(out, timer_method::clock_nanosleep, false);
  EXPECT_EQ(out.verdict, probe_verdict::verified);
  EXPECT_THAT(out.reasons, ElementsAre("not a Xen guest: the evidence is from row LOC",
                                       "1008 wake-ups, and row LOC counted 1300"));
  out = woken(1000);
  out.evidence.local_interrupts = 12;
  judge_timer(out, timer_method::clock_nanosleep, false);
  EXPECT_EQ(out.verdict, probe_verdict::refuted);
}

/// The rows of an ARM guest whose generic timer fired `grown` times on each CPU. Both PPIs of the
/// physical timer have the same action, as in domain 0.
channels::interrupt_table arm_table(std::uint64_t grown) {
  return test::table_of(
      fmt::format("           CPU0       CPU1\n 11: {} {} GICv3  27 Level     arch_timer\n"
                  " 10: 2 0 GICv3  29 Level     arch_timer\n"
                  " 12: 133 422 GICv3  31 Level     events\n"
                  "IPI0: 2212 3001 Rescheduling interrupts\nErr: 0\n",
                  1893 + grown, 1634 + grown));
}

TEST(timer_evidence, on_arm_is_the_row_of_the_generic_timer) {
  auto out = woken(1000);
  out.evidence.device = "arch_sys_timer";
  count_timers(arm_table(0), arm_table(1020), out);
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::verified);
  EXPECT_THAT(out.reasons, ElementsAre("1008 wake-ups, and row arch_timer counted 1020"));
}

TEST(timer_evidence, on_arm_of_fewer_events_than_wake_ups_refutes) {
  auto out = woken(1000);
  out.evidence.device = "arch_sys_timer";
  count_timers(arm_table(0), arm_table(1007), out);
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::refuted);
  EXPECT_THAT(out.reasons, ElementsAre("1008 wake-ups, and row arch_timer counted 1007"));
}

TEST(timer_evidence, on_arm_of_another_timer_refutes) {
  auto out = woken(1000);
  out.evidence.device = "bc_hrtimer";
  count_timers(arm_table(0), arm_table(1020), out);
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::refuted);
  EXPECT_THAT(out.reasons,
              ElementsAre("the timer of CPU 1 is 'bc_hrtimer', not the CPU's generic timer"));
}

TEST(timer_evidence, on_arm_off_xen_is_the_same_row) {
  auto out = woken(1000);
  out.evidence.device = "arch_sys_timer";
  count_timers(arm_table(0), arm_table(1020), out);
  judge_timer(out, timer_method::clock_nanosleep, false);
  EXPECT_EQ(out.verdict, probe_verdict::verified);
  EXPECT_THAT(out.reasons, ElementsAre("not a Xen guest: the evidence is from row arch_timer",
                                       "1008 wake-ups, and row arch_timer counted 1020"));
}

TEST(timer_evidence, on_arm_without_counts_leaves_the_result_unverified) {
  auto out = woken(1000);
  out.evidence.device = "arch_sys_timer";
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::unverified);
  EXPECT_THAT(out.reasons, ElementsAre("no row arch_timer to compare with"));
}

TEST(timer_evidence, on_arm_is_found_in_a_captured_guest) {
  const auto table = channels::read_interrupts(test::captured_tree("arm64-guest").root());
  ASSERT_TRUE(table.value);
  auto out = woken(0);
  count_timers(*table.value, *table.value, out);
  EXPECT_TRUE(out.evidence.is_arm);
  EXPECT_EQ(out.evidence.generic_events, 0U);
}

TEST(timer_evidence, of_no_wake_up_at_all_is_a_failure) {
  auto out = woken(0);
  out.evidence = pv_evidence(100);
  judge_timer(out, timer_method::clock_nanosleep, true);
  EXPECT_EQ(out.verdict, probe_verdict::failed);
}

TEST(timer_evidence, of_a_guest_that_was_migrated_meanwhile_proves_nothing) {
  auto out = woken(1000);
  out.evidence = pv_evidence(1008);
  judge_timer(out, timer_method::clock_nanosleep, true);
  doubt_migrated(out);
  EXPECT_EQ(out.verdict, probe_verdict::unverified);
  EXPECT_EQ(out.reasons.back(), "the guest was migrated or restored during the measurement");
}

TEST(trace_split, reads_the_kernels_lines) {
  const auto read = parse_timer_expiry(
      "          <idle>-0       [001] d.h1.  1234.567890: hrtimer_expire_entry: "
      "hrtimer=00000000d6e0a1f3 function=hrtimer_wakeup now=1234567890123");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->cpu, 1U);
  EXPECT_EQ(read->now, 1234567890123ns);
  EXPECT_EQ(read->function, "hrtimer_wakeup");
  // A thread name may contain spaces, digits and brackets.
  EXPECT_EQ(parse_timer_expiry("  a [9] b-77    [012] d.h1.  1.0: hrtimer_expire_entry: hrtimer=1 "
                               "function=f now=7")
                ->cpu,
            12U);
  EXPECT_FALSE(parse_timer_expiry("# tracer: nop"));
  EXPECT_FALSE(parse_timer_expiry(" x-1 [000] d. 1.0: hrtimer_expire_exit: hrtimer=1"));
  EXPECT_FALSE(parse_timer_expiry(" x-1 [000] d. 1.0: hrtimer_expire_entry: hrtimer=1"));
  EXPECT_FALSE(parse_timer_expiry(" x-1 [] d. 1.0: hrtimer_expire_entry: function=f now=7"));
}

TEST(trace_split, matches_each_wake_up_with_the_first_interrupt_after_it_was_due) {
  const auto parts = split_wakes(
      {{.due = 100ns, .woke = 190ns}, {.due = 200ns, .woke = 230ns}, {.due = 300ns, .woke = 350ns}},
      {50ns, 130ns, 180ns, 210ns, 360ns});
  EXPECT_EQ(parts.hypervisor.count(), 2U);
  EXPECT_EQ(parts.hypervisor.sum(), 30U + 10U);
  EXPECT_EQ(parts.guest.sum(), 60U + 20U);
  // The third wake-up's interrupt was not traced: the interrupt at 360 came after the wake-up.
  EXPECT_EQ(parts.unmatched, 1U);
}

TEST(live_figures, follow_the_wake_ups_of_a_schedule) {
  live_figures live;
  EXPECT_EQ(live.read().samples, 0U);
  periods schedule(100us, 10us, 1);
  schedule.woke(109us);  // the warm-up
  publish(schedule, live);
  EXPECT_EQ(live.read().samples, 0U);
  for (const auto now : {113us, 145us, 151us})
    schedule.woke(now);
  publish(schedule, live);
  const auto figures = live.read();
  EXPECT_EQ(figures.samples, 3U);
  EXPECT_EQ(figures.lost, 2U);
  EXPECT_EQ(figures.min, 1000U);
  EXPECT_EQ(figures.last, 1000U);
  EXPECT_EQ(figures.mean, (3000U + 25000U + 1000U) / 3);
  EXPECT_EQ(figures.max, 25000U);
}

TEST(timer_probe, shows_the_figures_of_a_running_measurement) {
  std::uint64_t seen = 0;
  const auto report = measure_timers({.cpus = {async::allowed_cpus().front()},
                                      .duration = 1h,
                                      .go_on = [&](const timer_progress& progress) {
                                        const auto& late = progress.cpus.front().late;
                                        EXPECT_LE(late.min, late.max);
                                        seen = late.samples;
                                        return seen < 20;
                                      }});
  EXPECT_GE(report.cpus.front().wake_ups, seen);
}

class timer_methods : public testing::TestWithParam<timer_method> {};

TEST_P(timer_methods, wake_at_the_requested_rate) {
  const auto cpu = async::allowed_cpus().front();
  const auto report =
      measure_timers({.method = GetParam(), .cpus = {cpu}, .interval = 2ms, .duration = 200ms});
  ASSERT_EQ(report.cpus.size(), 1U);
  const auto& result = report.cpus.front();
  EXPECT_EQ(result.cpu, cpu);
  // Every period is counted, either as kept or as lost, regardless of this machine's load.
  EXPECT_GE(result.wake_ups + result.lost, 100U);
  EXPECT_EQ(result.times.count(), result.wake_ups + result.lost);
  EXPECT_EQ(result.wake_times.count(), result.wake_ups);
  EXPECT_GT(result.times.min(), 0U);
  EXPECT_GE(result.took, 200ms);
  EXPECT_FALSE(report.ended_early);
  EXPECT_GT(report.clock.read.count(), 0);
}
INSTANTIATE_TEST_SUITE_P(all, timer_methods,
                         testing::Values(timer_method::clock_nanosleep, timer_method::timerfd,
                                         timer_method::asio),
                         [](const auto& method) { return std::string(to_string(method.param)); });

TEST(timer_probe, finds_gaps_by_spinning) {
  const auto cpu = async::allowed_cpus().front();
  const auto report =
      measure_timers({.method = timer_method::spin, .cpus = {cpu}, .duration = 50ms});
  const auto& result = report.cpus.front();
  ASSERT_TRUE(result.gaps);
  EXPECT_GE(result.gaps->looked, 40ms);
  // Most consecutive clock reads are as close together as the clock permits.
  EXPECT_LT(result.times.percentile(0.5), 10'000U);
  EXPECT_EQ(result.verdict, probe_verdict::verified);
}

TEST(timer_probe, ends_early_on_request) {
  int calls = 0;
  const auto report = measure_timers({.cpus = {async::allowed_cpus().front()},
                                      .duration = 1h,
                                      .go_on = [&](const timer_progress& progress) {
                                        EXPECT_GT(progress.left, 59min);
                                        EXPECT_EQ(progress.cpus.size(), 1U);
                                        return ++calls < 3;
                                      }});
  EXPECT_TRUE(report.ended_early);
  EXPECT_EQ(calls, 3);
  EXPECT_GT(report.cpus.front().wake_ups, 0U);
}

TEST(timer_probe, fails_at_once_when_a_thread_cannot_start) {
  // This priority does not exist. The failure must be reported before the duration ends.
  EXPECT_THROW((void)measure_timers({.cpus = {async::allowed_cpus().front()},
                                     .duration = 1h,
                                     .schedule = {.policy = policy_wish::fifo, .priority = 1000}}),
               failure);
}

TEST(timer_probe, refuses_a_cpu_that_is_not_allowed) {
  try {
    (void)measure_timers({.cpus = {8000}});
    FAIL() << "measured on CPU 8000";
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), errc::invalid_argument);
    EXPECT_THAT(problem.what(), HasSubstr("run on CPU 8000"));
  }
}

TEST(timer_probe, reports_that_there_is_nothing_to_compare_with) {
  test::captured_tree tree("pvh");
  tree.remove("/proc/interrupts");
  const auto report = measure_timers({.cpus = {async::allowed_cpus().front()},
                                      .duration = 20ms,
                                      .split = true,
                                      .root = tree.root()});
  EXPECT_EQ(report.guest, xen::guest_type::pvh);
  EXPECT_EQ(report.cpus.front().verdict, probe_verdict::unverified);
  EXPECT_THAT(report.cpus.front().reasons.front(), HasSubstr("/proc/interrupts cannot be read"));
  EXPECT_THAT(report.no_split, HasSubstr("a captured or simulated guest has no kernel to trace"));
  EXPECT_FALSE(report.cpus.front().split);
}

}  // namespace
}  // namespace xenpv::probe
