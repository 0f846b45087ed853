#include "xenpv/async/irq_affinity.hpp"

#include <gmock/gmock.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "unit/xen/fake_root.hpp"

namespace xenpv::async {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using xen::test::fake_root;

constexpr std::string_view two_cpus =
    "           CPU0       CPU2       \n"
    "  1:          9          0   IO-APIC   1-edge      i8042\n"
    " 24:      11667          3  xen-percpu    -virq      timer0\n"
    " 43:         19          7  xen-dyn-lateeoi     Edge    -event     evtchn:xev-cpu2\n"
    "312:          5    4000000000 xen-dyn-lateeoi     -event     evtchn:xev-cpu2\n"
    "LOC:          0          0   Local timer interrupts\n"
    "ERR:          0\n";

TEST(irq_counts, use_the_cpu_numbers_of_the_header) {
  EXPECT_THAT(parse_irq_counts(two_cpus, 43).value(),
              ElementsAre(cpu_count{0, 19}, cpu_count{2, 7}));
  EXPECT_THAT(parse_irq_counts(two_cpus, 312).value(),
              ElementsAre(cpu_count{0, 5}, cpu_count{2, 4000000000}));
}

TEST(irq_counts, of_an_unknown_row_are_an_error) {
  EXPECT_EQ(parse_irq_counts(two_cpus, 4).error().text,
            "find IRQ 4 in /proc/interrupts: not available here");
  EXPECT_FALSE(parse_irq_counts("", 4));
}

TEST(irq_counts, of_a_row_without_enough_columns_are_an_error) {
  EXPECT_EQ(parse_irq_counts("  CPU0 CPU1\n 7: 12\n", 7).error().text,
            "read the row of IRQ 7: protocol violation (no count for CPU 1)");
  EXPECT_FALSE(parse_irq_counts("  CPU0 CPU1\n 7: 12 xen-dyn -event evtchn:x\n", 7));
}

TEST(find_irqs, matches_the_exact_action) {
  fake_root tree;
  tree.with("/sys/kernel/irq/43/actions", "evtchn:xev-cpu2\n");
  tree.with("/sys/kernel/irq/9/actions", "evtchn:xev-cpu2\n");
  tree.with("/sys/kernel/irq/44/actions", "evtchn:xev-cpu21\n");
  tree.with("/sys/kernel/irq/45/actions", "\n");
  tree.with("/sys/kernel/irq/readme/actions", "evtchn:xev-cpu2\n");
  EXPECT_THAT(find_irqs(tree.root(), "evtchn:xev-cpu2"), ElementsAre(9u, 43u));
}

TEST(find_irqs, finds_nothing_if_the_kernel_lacks_the_files) {
  EXPECT_THAT(find_irqs(fake_root().root(), "evtchn:x"), IsEmpty());
}

TEST(place_new_irq, moves_the_new_interrupt_and_waits_for_proof) {
  fake_root tree;
  tree.with("/proc/irq/43/smp_affinity_list", "0-3\n");
  tree.with("/proc/irq/43/effective_affinity_list", "2\n");
  tree.with("/proc/interrupts", two_cpus);
  const std::vector<unsigned> before{9};
  const std::vector<unsigned> after{9, 43};
  const auto placed = place_new_irq(tree.root(), before, after, "evtchn:xev-cpu2", 2);
  EXPECT_EQ(tree.root().read("/proc/irq/43/smp_affinity_list"), "2");
  EXPECT_EQ(placed.status, irq_placement_status::set);
  EXPECT_EQ(placed.irq, 43u);
  EXPECT_EQ(placed.reason, "no events counted yet");
  EXPECT_THAT(placed.baseline, ElementsAre(cpu_count{0, 19}, cpu_count{2, 7}));
}

TEST(place_new_irq, moves_the_interrupt_through_a_mover) {
  fake_root tree;
  tree.with("/proc/irq/43/smp_affinity_list", "0-3\n");
  std::vector<std::pair<unsigned, unsigned>> moved;
  set_irq_mover([&](unsigned irq, unsigned cpu) {
    moved.emplace_back(irq, cpu);
    return moved.size() > 1 ? EPERM : 0;
  });
  const std::vector<unsigned> after{43};
  EXPECT_EQ(place_new_irq(tree.root(), {}, after, "evtchn:xev-cpu2", 2).status,
            irq_placement_status::set);
  const auto refused = place_new_irq(tree.root(), {}, after, "evtchn:xev-cpu2", 1);
  set_irq_mover({});
  EXPECT_EQ(refused.status, irq_placement_status::unavailable);
  EXPECT_EQ(refused.reason, "write 1 to /proc/irq/43/smp_affinity_list: operation not permitted");
  EXPECT_THAT(moved, ElementsAre(std::pair(43u, 2u), std::pair(43u, 1u)));
  EXPECT_EQ(tree.root().read("/proc/irq/43/smp_affinity_list"), "0-3") << "written by this process";
}

TEST(place_new_irq, reports_the_effective_affinity) {
  fake_root tree;
  tree.with("/proc/irq/43/smp_affinity_list", "");
  tree.with("/proc/irq/43/effective_affinity_list", "0\n");
  const std::vector<unsigned> after{43};
  const auto placed = place_new_irq(tree.root(), {}, after, "evtchn:xev-cpu2", 2);
  EXPECT_EQ(placed.status, irq_placement_status::set);
  EXPECT_EQ(placed.reason, "the kernel reports CPU 0");
}

TEST(place_new_irq, is_unavailable_without_exactly_one_candidate) {
  fake_root tree;
  const std::vector<unsigned> two{43, 44};
  const auto none = place_new_irq(tree.root(), two, two, "evtchn:xev-cpu2", 2);
  EXPECT_EQ(none.status, irq_placement_status::unavailable);
  EXPECT_EQ(none.reason, "0 new interrupts named evtchn:xev-cpu2 in /sys/kernel/irq, expected one");
  EXPECT_EQ(place_new_irq(tree.root(), {}, two, "evtchn:x", 2).reason,
            "2 new interrupts named evtchn:x in /sys/kernel/irq, expected one");
}

TEST(place_new_irq, is_unavailable_when_the_affinity_cannot_be_written) {
  fake_root tree;
  const std::vector<unsigned> after{43};
  const auto placed = place_new_irq(tree.root(), {}, after, "evtchn:xev-cpu2", 2);
  EXPECT_EQ(placed.status, irq_placement_status::unavailable);
  EXPECT_EQ(placed.reason, "write 2 to /proc/irq/43/smp_affinity_list: no such file or directory");
}

irq_placement placed_on_cpu_2() {
  irq_placement placement;
  placement.status = irq_placement_status::set;
  placement.irq = 43;
  placement.cpu = 2;
  placement.reason = "no events counted yet";
  placement.baseline = {{0, 19}, {2, 7}};
  return placement;
}

TEST(judge_irq_counts, verifies_growth_on_the_selected_cpu_only) {
  const auto judged = judge_irq_counts(placed_on_cpu_2(), {{0, 19}, {2, 12}});
  EXPECT_EQ(judged.status, irq_placement_status::verified);
  EXPECT_EQ(judged.reason, "5 events, all on CPU 2");
  EXPECT_THAT(judged.baseline, ElementsAre(cpu_count{0, 19}, cpu_count{2, 12}));
}

TEST(judge_irq_counts, withdraws_verified_when_events_arrive_on_another_cpu) {
  auto verified = judge_irq_counts(placed_on_cpu_2(), {{0, 19}, {2, 12}});
  const auto moved = judge_irq_counts(std::move(verified), {{0, 21}, {2, 13}});
  EXPECT_EQ(moved.status, irq_placement_status::set);
  EXPECT_EQ(moved.reason, "2 of 3 events arrived on a CPU other than 2");
}

TEST(judge_irq_counts, keeps_the_status_without_new_events) {
  const auto judged = judge_irq_counts(placed_on_cpu_2(), {{0, 19}, {2, 7}});
  EXPECT_EQ(judged.status, irq_placement_status::set);
  EXPECT_EQ(judged.reason, "no events counted yet");
}

TEST(judge_irq_counts, uses_counts_of_unknown_age_only_as_a_baseline) {
  auto placement = placed_on_cpu_2();
  placement.baseline.clear();
  const auto judged = judge_irq_counts(placement, {{0, 0}, {2, 100}});
  EXPECT_EQ(judged.status, irq_placement_status::set);
  EXPECT_THAT(judged.baseline, ElementsAre(cpu_count{0, 0}, cpu_count{2, 100}));
}

TEST(check_irq, reads_the_current_counts) {
  fake_root tree;
  tree.with("/proc/interrupts", "  CPU0 CPU2\n 43: 19 8 xen-dyn-lateeoi -event evtchn:xev-cpu2\n");
  EXPECT_EQ(check_irq(tree.root(), placed_on_cpu_2()).status, irq_placement_status::verified);
}

TEST(check_irq, withdraws_verified_when_the_row_is_gone) {
  auto verified = placed_on_cpu_2();
  verified.status = irq_placement_status::verified;
  const auto checked = check_irq(fake_root().root(), verified);
  EXPECT_EQ(checked.status, irq_placement_status::set);
  EXPECT_EQ(checked.reason, "no row for IRQ 43 in /proc/interrupts");
}

TEST(irq_placement, formats_its_status) {
  EXPECT_EQ(to_string(irq_placement_status::verified), "verified");
  EXPECT_EQ(to_string(irq_placement_status::set), "set");
  EXPECT_EQ(to_string(irq_placement_status::unavailable), "unavailable");
}

}  // namespace
}  // namespace xenpv::async
