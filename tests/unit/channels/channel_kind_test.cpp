#include "channels/channel_kind.hpp"

#include <gtest/gtest.h>

#include <map>

#include "unit/channels/captured_tree.hpp"

namespace xenpv::channels {
namespace {

interrupt_table capture_table(const std::string& capture) {
  const test::captured_tree tree(capture);
  return parse_interrupts(tree.root().read("/proc/interrupts").value()).value();
}

std::map<std::string, int> kinds_in(const std::string& capture) {
  std::map<std::string, int> out;
  for (const auto& row : capture_table(capture).rows)
    if (const auto purpose = purpose_of(row)) ++out[std::string(to_string(purpose->kind))];
  return out;
}

using counted = std::map<std::string, int>;

TEST(channel_kind, finds_the_purpose_of_each_channel_of_each_guest) {
  EXPECT_EQ(kinds_in("pv"), (counted{{"timer", 2},
                                     {"ipi", 8},
                                     {"spinlock", 2},
                                     {"xenbus", 1},
                                     {"console", 1},
                                     {"device", 6},
                                     {"user", 1}}));
  EXPECT_EQ(kinds_in("pvh"), (counted{{"timer", 2},
                                      {"ipi", 6},
                                      {"spinlock", 2},
                                      {"xenbus", 1},
                                      {"console", 1},
                                      {"device", 6},
                                      {"user", 1}}));
  EXPECT_EQ(kinds_in("hvm-vector"), (counted{{"timer", 2},
                                             {"ipi", 6},
                                             {"spinlock", 2},
                                             {"xenbus", 1},
                                             {"console", 1},
                                             {"device", 7},
                                             {"user", 1},
                                             {"pirq", 4}}));
  EXPECT_EQ(kinds_in("hvm-intx"),
            (counted{{"xenbus", 1}, {"console", 1}, {"device", 7}, {"user", 1}}));
  EXPECT_EQ(kinds_in("dom0"), (counted{{"timer", 2},
                                       {"ipi", 8},
                                       {"spinlock", 2},
                                       {"xenbus", 1},
                                       {"console", 1},
                                       {"virq", 2},
                                       {"device", 6},
                                       {"user", 4},
                                       {"pirq", 15}}));
  EXPECT_EQ(kinds_in("arm"), (counted{{"xenbus", 1}, {"console", 1}, {"user", 1}, {"device", 1}}));
  EXPECT_EQ(kinds_in("old-kernel"), (counted{{"timer", 2},
                                             {"ipi", 6},
                                             {"spinlock", 2},
                                             {"debug", 2},
                                             {"xenbus", 1},
                                             {"device", 2},
                                             {"user", 1},
                                             {"pirq", 1}}));
}

TEST(channel_kind, finds_the_type_and_the_cpu_of_an_ipi) {
  const auto table = capture_table("pv");
  EXPECT_EQ(purpose_of(*table.find(9U)), (channel_purpose{channel_kind::ipi, "callfuncsingle", 1}));
  EXPECT_EQ(purpose_of(*table.find(1U)), (channel_purpose{channel_kind::spinlock, "", 0}));
  EXPECT_EQ(purpose_of(*table.find(20U)), (channel_purpose{channel_kind::user, "xenpv-sim", {}}));
}

TEST(channel_kind, names_can_be_parsed_back) {
  for (const auto* name : {"timer", "ipi", "user", "device", "pirq", "unbound", "other"})
    EXPECT_EQ(to_string(parse_channel_kind(name).value()), name);
  EXPECT_FALSE(parse_channel_kind("disk"));
}

TEST(channel_kind, finds_the_delivery_of_upcalls) {
  EXPECT_EQ(upcall_of(capture_table("pv"), true), upcall::callback);
  EXPECT_EQ(upcall_of(capture_table("pvh"), false), upcall::vector);
  EXPECT_EQ(upcall_of(capture_table("hvm-vector"), false), upcall::vector);
  EXPECT_EQ(upcall_of(capture_table("hvm-intx"), false), upcall::pci_interrupt);
  EXPECT_EQ(upcall_of(capture_table("arm"), false), upcall::percpu_interrupt);
  EXPECT_EQ(upcall_of(capture_table("no-hyp-row"), false), upcall::per_vcpu);
  EXPECT_EQ(upcall_of(capture_table("no-xen-rows"), false), upcall::unknown);
}

interrupt_row only_row(std::string_view line) {
  return test::table_of("  CPU0 CPU1\n" + std::string(line) + "\n").rows.at(0);
}

TEST(channel_kind, knows_the_chips_of_xenlinux) {
  EXPECT_EQ(kinds_in("xenlinux-dom0"),
            (counted{{"timer", 4}, {"ipi", 8}, {"xenbus", 1}, {"console", 1}, {"pirq", 5}}));
  EXPECT_TRUE(is_xenlinux(capture_table("xenlinux-dom0")));
  EXPECT_FALSE(is_xenlinux(capture_table("old-kernel")));
  // 2.6.16 to 2.6.18 print no flow handler.
  EXPECT_EQ(purpose_of(only_row("256: 93722638 0     Dynamic-irq  timer0")),
            (channel_purpose{channel_kind::timer, "", 0}));
  EXPECT_EQ(purpose_of(only_row("270: 5 0     Dynamic-irq  vif1.0")),
            (channel_purpose{channel_kind::device}));
  EXPECT_EQ(purpose_of(only_row(" 16: 5 0        Phys-irq  libata, peth0")),
            (channel_purpose{channel_kind::pirq}));
  // Later kernels share one interrupt between all CPUs.
  EXPECT_EQ(purpose_of(only_row("  1: 5 9   Dynamic-percpu     timer")),
            (channel_purpose{channel_kind::timer}));
}

TEST(channel_kind, finds_interrupts_that_cannot_move) {
  EXPECT_TRUE(is_per_cpu(only_row("1: 5 0  xen-percpu    -virq      hvc_console")));
  EXPECT_TRUE(is_per_cpu(only_row("256: 5 0  Dynamic-irq-level     timer0")));
  EXPECT_TRUE(is_per_cpu(only_row("1: 5 9   Dynamic-percpu     timer")));
  EXPECT_FALSE(is_per_cpu(only_row("268: 5 0  Dynamic-irq-level     xenbus")));
  EXPECT_FALSE(is_per_cpu(only_row("9: 5 0  xen-dyn    -event     blkif")));
}

}  // namespace
}  // namespace xenpv::channels
