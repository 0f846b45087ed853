// Evaluates IPI counts without sending IPIs, then tests the methods on this machine, including a
// case in which the kernel sends no IPIs.
#include "probe/ipi_probe.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <thread>

#include "channels/raw_facts.hpp"
#include "probe/ipi_run.hpp"
#include "unit/channels/captured_tree.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using namespace std::chrono_literals;
using test::table_of;
using testing::HasSubstr;

ipi_counts pv_counts(std::uint64_t resched, std::uint64_t callfunc, std::uint64_t single) {
  return {.resched = resched, .callfunc = callfunc, .callfuncsingle = single};
}

ipi_counts native_counts(std::uint64_t res, std::uint64_t cal) {
  return {.res = res, .cal = cal};
}

TEST(ipi_counts, belong_to_one_cpu) {
  const auto counts = ipis_between(table_of("  CPU0 CPU1\n"
                                            " 1: 5 0 xen-percpu -ipi resched0\n"
                                            " 2: 0 1 xen-percpu -ipi resched1\n"
                                            " 3: 0 2 xen-percpu -ipi callfunc1\n"
                                            " 4: 0 3 xen-percpu -ipi callfuncsingle1\n"
                                            "RES: 5 4 Rescheduling interrupts\n"
                                            "CAL: 0 5 Function call interrupts\n"),
                                   table_of("  CPU0 CPU1\n"
                                            " 1: 99 0 xen-percpu -ipi resched0\n"
                                            " 2: 0 11 xen-percpu -ipi resched1\n"
                                            " 3: 0 22 xen-percpu -ipi callfunc1\n"
                                            " 4: 0 33 xen-percpu -ipi callfuncsingle1\n"
                                            "RES: 99 14 Rescheduling interrupts\n"
                                            "CAL: 0 55 Function call interrupts\n"),
                                   1);
  EXPECT_EQ(counts.resched, 10U);
  EXPECT_EQ(counts.callfunc, 20U);
  EXPECT_EQ(counts.callfuncsingle, 30U);
  EXPECT_EQ(counts.res, 10U);
  EXPECT_EQ(counts.cal, 50U);
  EXPECT_EQ(counts.calls(), 50U);
  EXPECT_EQ(counts.wakes(), 60U);
}

TEST(ipi_counts, without_event_channels_come_from_res_and_cal) {
  const auto text = "  CPU0\nRES: 1 Rescheduling interrupts\nCAL: 2 Function call interrupts\n";
  const auto counts = ipis_between(table_of(text), table_of(text), 0);
  EXPECT_TRUE(counts.is_known());
  EXPECT_FALSE(counts.has_pv());
  EXPECT_FALSE(ipis_between(table_of("  CPU0\n"), table_of("  CPU0\n"), 0).is_known());
}

/// The IPI rows of ARM64 (arch/arm64/kernel/smp.c).
constexpr auto arm64_rows =
    "           CPU0       CPU1\n 13: 14 0 xen-dyn     Edge    -event     xenbus\n"
    "IPI0:      {}       {}       Rescheduling interrupts\n"
    "IPI1:       {}        {}       Function call interrupts\n"
    "IPI2:         0          0       CPU stop interrupts\n"
    "IPI5:         {}          2       IRQ work interrupts\nErr:          0\n";

TEST(ipi_counts, on_arm_come_from_the_rows_of_reschedules_and_function_calls) {
  const auto counts = ipis_between(table_of(fmt::format(arm64_rows, 2212, 3001, 511, 702, 4)),
                                   table_of(fmt::format(arm64_rows, 2222, 3008, 611, 802, 9)), 1);
  ASSERT_TRUE(counts.is_known());
  EXPECT_FALSE(counts.has_pv());
  EXPECT_EQ(counts.calls(), 100U);
  EXPECT_EQ(counts.wakes(), 107U);
  EXPECT_EQ(doubt_calls(100, counts, 1), "");
  EXPECT_EQ(doubt_wakes(100, counts, 1), "");
}

TEST(ipi_counts, on_32_bit_arm_are_found_by_their_names) {
  // Before Linux 3.17, single function calls have a separate row (arch/arm/kernel/smp.c).
  constexpr auto rows =
      "  CPU0\nIPI0: 0 CPU wakeup interrupts\nIPI1: 900 Timer broadcast interrupts\n"
      "IPI2: {} Rescheduling interrupts\nIPI3: {} Function call interrupts\n"
      "IPI4: {} Single function call interrupts\nIPI5: 0 CPU stop interrupts\n";
  const auto counts = ipis_between(table_of(fmt::format(rows, 10, 20, 30)),
                                   table_of(fmt::format(rows, 11, 22, 33)), 0);
  ASSERT_TRUE(counts.is_known());
  EXPECT_EQ(counts.calls(), 5U);
  EXPECT_EQ(counts.wakes(), 6U);
}

TEST(ipi_counts, on_arm_are_found_in_a_captured_guest) {
  for (const auto* name : {"arm64-guest", "arm"}) {
    const auto table = channels::read_interrupts(test::captured_tree(name).root());
    ASSERT_TRUE(table.value) << name;
    EXPECT_TRUE(ipis_between(*table.value, *table.value, 0).is_known()) << name;
  }
}

TEST(ipi_type, on_arm_is_native) {
  const auto counts = ipis_between(table_of(fmt::format(arm64_rows, 0, 0, 0, 0, 0)),
                                   table_of(fmt::format(arm64_rows, 0, 5, 0, 95, 0)), 1);
  EXPECT_EQ(type_of({counts}).type, ipi_type::native);
  EXPECT_EQ(type_of({counts}).evidence,
            "the GIC's IPI rows counted 100 IPIs; ARM guests have no PV IPIs");
}

TEST(ipi_counts, confirm_a_batch_only_if_they_match_exactly) {
  EXPECT_EQ(doubt_calls(100, pv_counts(7, 0, 100), 1), "");
  EXPECT_EQ(doubt_calls(100, native_counts(7, 100), 1), "");
  EXPECT_EQ(
      doubt_calls(100, pv_counts(0, 0, 99), 1),
      "100 calls, and CPU 1 counted 99 IPIs: the measuring thread there was not always running");
  // With unrelated IPIs in the count, a missing IPI cannot be ruled out.
  EXPECT_EQ(doubt_calls(100, pv_counts(0, 1, 100), 1),
            "100 calls, and CPU 1 counted 101 IPIs: other IPIs arrived too");
}

TEST(ipi_counts, of_wake_ups_may_be_of_either_kind_and_include_a_few_others) {
  EXPECT_EQ(doubt_wakes(100, pv_counts(60, 0, 40), 1), "");
  EXPECT_EQ(doubt_wakes(100, native_counts(3, 110), 1), "");
  EXPECT_EQ(
      doubt_wakes(100, native_counts(90, 9), 1),
      "100 wake-ups, and CPU 1 counted 99 IPIs: it was not always asleep, or it polls when idle "
      "(idle=poll, haltpoll)");
  EXPECT_EQ(doubt_wakes(100, native_counts(90, 90), 1),
            "100 wake-ups, and CPU 1 counted 180 IPIs: other IPIs arrived too");
}

TEST(ipi_type, follows_from_the_rows_that_grew) {
  // PV handlers also increment RES and CAL.
  auto pv = pv_counts(500, 0, 500);
  pv.res = 500;
  pv.cal = 500;
  EXPECT_EQ(type_of({pv, pv}).type, ipi_type::pv);
  EXPECT_EQ(type_of({pv, pv}).evidence, "event channels counted 2000 IPIs, RES and CAL 2000");
  EXPECT_EQ(type_of({native_counts(10, 990)}).type, ipi_type::native);
  // The event-channel rows exist, but the IPIs were not sent over event channels.
  auto bypassed = pv_counts(0, 0, 0);
  bypassed.cal = 1000;
  EXPECT_EQ(type_of({bypassed}).type, ipi_type::native);
  auto both = pv_counts(0, 0, 500);
  both.cal = 1000;
  EXPECT_EQ(type_of({both}).type, ipi_type::unknown);
  EXPECT_EQ(type_of({}).type, ipi_type::unknown);
}

/// Uses the CPUs of this machine. Skips unless there are two CPUs and a kernel that counts IPIs.
class ipis_here : public testing::Test {
 protected:
  void SetUp() override {
    cpus_ = async::allowed_cpus();
    if (cpus_.size() < 2) GTEST_SKIP() << "needs a second CPU to interrupt";
    const auto table = channels::read_interrupts(system_root("/"));
    if (!table.value || !ipis_between(*table.value, *table.value, cpus_[0]).is_known())
      GTEST_SKIP() << "this kernel does not count IPIs in /proc/interrupts";
  }

  std::vector<unsigned> cpus_;
};

TEST_F(ipis_here, are_measured_and_verified) {
  const ipi_probe probe({.count = 200, .batch = 20});
  const auto pair = probe.measure(ipi_method::membarrier, cpus_[0], cpus_[1]);
  if (pair.verdict == probe_verdict::refuted) GTEST_SKIP() << "too busy: " << pair.reason;
  ASSERT_EQ(pair.verdict, probe_verdict::verified) << pair.reason;
  EXPECT_EQ(pair.calls, pair.kept * 20U);
  EXPECT_EQ(pair.times.count(), pair.calls);
  EXPECT_EQ(pair.there.calls(), pair.calls);
  const auto alone = probe.measure(ipi_method::membarrier, cpus_[0], cpus_[0]);
  if (alone.verdict == probe_verdict::refuted) GTEST_SKIP() << "too busy: " << alone.reason;
  EXPECT_EQ(alone.verdict, probe_verdict::verified);
  // A call that sends an IPI takes longer than a call that does not.
  EXPECT_GT(pair.times.percentile(0.5), 2 * alone.times.percentile(0.5));
}

TEST_F(ipis_here, wake_by_futex_and_eventfd) {
  const ipi_probe probe({.count = 40, .batch = 10});
  for (const auto method : {ipi_method::futex, ipi_method::eventfd}) {
    const auto pair = probe.measure(method, cpus_[1], cpus_[0]);
    // A CPU that polls when idle does not get IPIs. The probe must report that and not show times.
    ASSERT_NE(pair.verdict, probe_verdict::failed) << pair.reason;
    EXPECT_EQ(pair.times.count(), pair.calls);
    EXPECT_EQ(pair.verdict == probe_verdict::verified, pair.calls > 0) << pair.reason;
    const auto alone = probe.measure(method, cpus_[0], cpus_[0]);
    if (alone.verdict == probe_verdict::refuted) GTEST_SKIP() << "too busy: " << alone.reason;
    EXPECT_EQ(alone.verdict, probe_verdict::verified) << alone.reason;
  }
}

TEST_F(ipis_here, reach_several_at_once) {
  const ipi_probe probe({.count = 50, .batch = 10});
  const auto all = probe.broadcast(cpus_[0], {cpus_[1]});
  ASSERT_NE(all.verdict, probe_verdict::failed) << all.reason;
  if (all.there.empty()) GTEST_SKIP() << "too busy for a consistent batch: " << all.reason;
  ASSERT_EQ(all.there.size(), 1U);
  EXPECT_EQ(all.times.count(), all.calls);
  EXPECT_EQ(all.there[0].calls(), all.calls);
}

/// Each measurement's spinner runs on the CPU of the other measurement's caller, and SCHED_FIFO
/// does not time-slice: if the spinners did not yield, both measurements would hang.
TEST_F(ipis_here, of_two_concurrent_measurements_end) {
  const ipi_probe probe({.count = 2000, .batch = 100});
  ipi_pair there;
  ipi_pair back;
  {
    const std::jthread other(
        [&] { back = probe.measure(ipi_method::membarrier, cpus_[1], cpus_[0]); });
    there = probe.measure(ipi_method::membarrier, cpus_[0], cpus_[1]);
  }
  EXPECT_NE(there.verdict, probe_verdict::failed) << there.reason;
  EXPECT_NE(back.verdict, probe_verdict::failed) << back.reason;
}

/// The trap: if this process does not run a thread on the other CPU, the kernel does not send IPIs,
/// and the calls are fast. The same happens while that thread is preempted.
TEST_F(ipis_here, that_were_never_sent_are_fast_and_do_not_match) {
  register_membarrier();
  const system_root root("/");
  const auto before = channels::read_interrupts(root);
  fine_histogram times;
  call_cpu(cpus_[1], 2000, times);
  const auto after = channels::read_interrupts(root);
  const auto there = ipis_between(*before.value, *after.value, cpus_[1]);
  // The times are short, but must not be trusted.
  EXPECT_LT(times.percentile(0.5), 5000U);
  EXPECT_THAT(doubt_calls(2000, there, cpus_[1]), HasSubstr("not always running"));
}

/// CPU 0 and CPU 1 with a /proc/interrupts whose counts do not change, as if IPIs were not sent.
class uncounted_ipis : public testing::Test {
 protected:
  void SetUp() override {
    tree_.with(
        "/proc/interrupts",
        "  CPU0 CPU1\nRES: 1 1 Rescheduling interrupts\nCAL: 2 2 Function call interrupts\n");
    const auto cpus = async::allowed_cpus();
    if (cpus.size() < 2 || cpus[1] != 1) GTEST_SKIP() << "needs CPU 0 and CPU 1";
  }

  xen::test::fake_root tree_;
};

TEST_F(uncounted_ipis, yield_no_time_for_a_batch_that_does_not_match) {
  const ipi_probe probe({.count = 20, .batch = 10, .root = tree_.root()});
  const auto pair = probe.measure(ipi_method::membarrier, 0, 1);
  EXPECT_EQ(pair.verdict, probe_verdict::refuted);
  EXPECT_EQ(pair.times.count(), 0U);
  EXPECT_EQ(pair.calls, 0U);
  EXPECT_EQ(pair.kept, 0U);
  EXPECT_EQ(pair.thrown_away, 11U);
  EXPECT_EQ(
      pair.reason,
      "10 calls, and CPU 1 counted 0 IPIs: the measuring thread there was not always running");
}

TEST_F(uncounted_ipis, are_given_up_when_smaller_batches_do_not_match_either) {
  const ipi_probe probe({.count = 40, .batch = 8, .root = tree_.root()});
  const auto pair = probe.measure(ipi_method::futex, 0, 1);
  EXPECT_EQ(pair.verdict, probe_verdict::refuted);
  EXPECT_EQ(pair.thrown_away, 16U);
  EXPECT_EQ(pair.times.count(), 0U);
  EXPECT_THAT(pair.reason,
              HasSubstr("2 wake-ups, and CPU 1 counted 0 IPIs: it was not always asleep"));
}

TEST(ipi_probe, keeps_times_without_counts_but_reports_them_as_unverified) {
  const xen::test::fake_root tree;
  const auto cpu = async::allowed_cpus().front();
  const ipi_probe probe({.count = 20, .batch = 10, .root = tree.root()});
  const auto pair = probe.measure(ipi_method::membarrier, cpu, cpu);
  EXPECT_EQ(pair.verdict, probe_verdict::unverified);
  EXPECT_EQ(pair.times.count(), 20U);
  EXPECT_THAT(pair.reason, HasSubstr("/proc/interrupts cannot be read"));
}

TEST(ipi_probe, refuses_a_cpu_that_is_not_allowed) {
  const ipi_probe probe({});
  EXPECT_THROW((void)probe.measure(ipi_method::futex, 0, 8000), failure);
  EXPECT_THROW((void)probe.broadcast(8000, {0}), failure);
}

}  // namespace
}  // namespace xenpv::probe
