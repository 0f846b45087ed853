#include "channels/irq_move.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "unit/xen/fake_root.hpp"

namespace xenpv::channels {
namespace {

interrupt_table counts(unsigned cpu0, unsigned cpu1) {
  return parse_interrupts(fmt::format("  CPU0 CPU1\n 9: {} {} xen-dyn -event a\n", cpu0, cpu1))
      .value();
}

irq_move moved_to_1() {
  return {.irq = 9, .cpus = {1}, .verdict = move_verdict::set};
}

TEST(irq_move, writes_the_list_and_reads_it_again) {
  xen::test::fake_root tree;
  tree.with("/proc/irq/9/smp_affinity_list", "0-3\n")
      .with("/proc/irq/9/effective_affinity_list", "2\n");
  const auto move = move_irq(tree.root(), 9, {1, 2, 3});
  EXPECT_EQ(tree.root().read("/proc/irq/9/smp_affinity_list"), "1-3");
  EXPECT_EQ(move.verdict, move_verdict::set);
  EXPECT_EQ(move.allowed, (std::vector{1U, 2U, 3U}));
  EXPECT_EQ(move.effective, std::vector{2U});
}

TEST(irq_move, reports_an_interrupt_that_is_gone) {
  xen::test::fake_root tree;
  const auto move = move_irq(tree.root(), 9, {1});
  EXPECT_EQ(move.verdict, move_verdict::refused);
  EXPECT_EQ(describe_refusal(move), "interrupt 9 no longer exists");
}

TEST(irq_move, explains_refusals_by_the_kernel) {
  const auto refusal = [](int error, bool per_cpu) {
    return describe_refusal({.irq = 9, .error = error, .per_cpu = per_cpu});
  };
  EXPECT_EQ(refusal(EIO, true), "input/output error (a per-CPU channel cannot move)");
  EXPECT_EQ(refusal(EPERM, true), "operation not permitted (a per-CPU channel cannot move)");
  EXPECT_EQ(refusal(EACCES, false), "permission denied (root is required)");
  EXPECT_EQ(refusal(EPERM, false),
            "operation not permitted (without the callback vector, all events of an HVM guest go "
            "to vCPU 0)");
}

TEST(irq_move, finds_out_whether_a_refused_interrupt_belongs_to_one_cpu) {
  xen::test::fake_root tree;
  tree.with("/proc/interrupts",
            "  CPU0 CPU1\n 9: 5 0 xen-percpu -virq timer0\n10: 5 0 xen-dyn -event a\n");
  EXPECT_TRUE(move_irq(tree.root(), 9, {1}).per_cpu);
  EXPECT_FALSE(move_irq(tree.root(), 10, {1}).per_cpu);
}

TEST(irq_move, is_proven_only_by_the_column_that_grows) {
  auto move = moved_to_1();
  judge_move(move, counts(5, 5), counts(5, 8));
  EXPECT_EQ(move.verdict, move_verdict::proven);
  EXPECT_EQ(move.grown_there, 3U);

  move = moved_to_1();
  judge_move(move, counts(5, 5), counts(5, 5));
  EXPECT_EQ(move.verdict, move_verdict::set);

  move = moved_to_1();
  judge_move(move, counts(5, 5), counts(6, 9));
  EXPECT_EQ(move.verdict, move_verdict::elsewhere);
  EXPECT_EQ(move.grown_elsewhere, 1U);
}

TEST(irq_move, is_not_proven_by_a_row_that_vanished) {
  auto move = moved_to_1();
  judge_move(move, counts(5, 5), parse_interrupts("  CPU0 CPU1\n").value());
  EXPECT_EQ(move.verdict, move_verdict::set);
}

}  // namespace
}  // namespace xenpv::channels
