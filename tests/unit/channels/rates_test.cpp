#include "channels/rates.hpp"

#include <gmock/gmock.h>

#include "unit/channels/captured_tree.hpp"

namespace xenpv::channels {
namespace {

using test::table_of;
using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::chrono_literals;

TEST(rates, are_differences_of_two_readings) {
  const auto report = rates_between(
      table_of("  CPU0 CPU1\n 1: 10 0 xen-percpu -virq timer0\n 2: 5 7 xen-dyn -event a\n"),
      table_of("  CPU0 CPU1\n 1: 30 0 xen-percpu -virq timer0\n 2: 5 47 xen-dyn -event a\n"), 2s);
  ASSERT_EQ(report.channels.size(), 2U);
  EXPECT_THAT(report.channels[0].grown, ElementsAre(20U, 0U));
  EXPECT_TRUE(report.channels[0].is_per_cpu);
  EXPECT_EQ(report.channels[1].events, 40U);
  EXPECT_THAT(report.per_cpu, ElementsAre(20U, 40U));
  EXPECT_THAT(report.movable_per_cpu, ElementsAre(0U, 40U));
  EXPECT_DOUBLE_EQ(report.per_second(report.events()), 30.0);
}

TEST(rates, continue_after_a_counter_wrapped) {
  EXPECT_EQ(growth(4294967290U, 10), 16U);
  EXPECT_EQ(growth(5, 5), 0U);
  // A new channel reuses the number, so its whole count is new.
  EXPECT_EQ(growth(1000, 3), 3U);
  // Wider counters do not wrap at 32 bits.
  EXPECT_EQ(growth(10'000'000'000ULL, 7), 7U);
}

TEST(rates, need_both_readings) {
  const auto report = rates_between(
      table_of("  CPU0\n 1: 10 xen-dyn -event gone\n 2: 5 xen-dyn -event was\n 3: 1 PCI-MSI x\n"),
      table_of("  CPU0\n 2: 9 xen-dyn -event is\n 4: 99 xen-dyn -event new\n"), 1s);
  EXPECT_THAT(report.channels, IsEmpty());
  EXPECT_THAT(report.appeared, ElementsAre("is", "new"));
  EXPECT_THAT(report.vanished, ElementsAre("gone", "was"));
}

TEST(rates, follow_cpus_that_come_and_go) {
  const auto report =
      rates_between(table_of("  CPU0 CPU1 CPU2\n 2: 5 100 7 xen-dyn -event a\n"),
                    table_of("  CPU0 CPU2 CPU3\n 2: 6 9 1000 xen-dyn -event a\n"), 1s);
  EXPECT_THAT(report.cpus, ElementsAre(0U, 2U, 3U));
  // The events already counted on CPU 3 when it appears are ignored.
  EXPECT_THAT(report.channels[0].grown, ElementsAre(1U, 2U, 0U));
}

TEST(rates, have_a_balance_and_a_share_of_cpu_0) {
  EXPECT_DOUBLE_EQ(balance_of({5, 5, 5, 5}), 1.0);
  EXPECT_DOUBLE_EQ(balance_of({20, 0, 0, 0}), 0.0);
  EXPECT_DOUBLE_EQ(balance_of({10, 10, 0, 0}), 0.5);
  EXPECT_DOUBLE_EQ(balance_of({0, 0}), 1.0);
  EXPECT_DOUBLE_EQ(balance_of({7}), 1.0);
  EXPECT_DOUBLE_EQ(share_of_cpu0({0, 1}, {30, 10}), 0.75);
  EXPECT_DOUBLE_EQ(share_of_cpu0({1, 2}, {30, 10}), 0.0);
  EXPECT_DOUBLE_EQ(share_of_cpu0({0, 1}, {0, 0}), 0.0);
}

}  // namespace
}  // namespace xenpv::channels
