#include "channels/interrupts.hpp"

#include <gmock/gmock.h>

#include "unit/channels/captured_tree.hpp"

namespace xenpv::channels {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

interrupt_table parse(std::string_view text) {
  auto table = parse_interrupts(text);
  if (!table) throw std::runtime_error(table.error().text);
  return std::move(*table);
}

interrupt_row row_of(std::string_view line) {
  const auto table = parse(std::string("     CPU0  CPU1\n") + std::string(line) + "\n");
  if (table.rows.size() != 1) throw std::runtime_error("not one row: " + std::string(line));
  return table.rows.front();
}

struct known_row {
  std::string_view line;
  std::string_view chip;
  std::optional<std::uint64_t> hwirq;
  interrupt_trigger trigger;
  std::string_view handler;
  std::vector<std::string> actions;
};

TEST(interrupts, parses_numbered_rows_of_every_format) {
  using trigger = interrupt_trigger;
  const std::vector<known_row> rows = {
      {" 24: 11 0  xen-percpu    -virq      timer0",
       "xen-percpu",
       {},
       trigger::unsaid,
       "virq",
       {"timer0"}},
      {"312: 24 0     xen-dyn-lateeoi     -event     vif13.0-q1-tx",
       "xen-dyn-lateeoi",
       {},
       trigger::unsaid,
       "event",
       {"vif13.0-q1-tx"}},
      {" 37: 0 5693  xen-pirq    -msi       ahci[0000:00:04.0]",
       "xen-pirq",
       {},
       trigger::unsaid,
       "msi",
       {"ahci[0000:00:04.0]"}},
      // HVM: pirqs have an IRQ domain.
      {"  9: 0 0  xen-pirq   9-ioapic-level  acpi",
       "xen-pirq",
       9,
       trigger::unsaid,
       "ioapic-level",
       {"acpi"}},
      {" 43: 19 0  xen-dyn-lateeoi     Edge    -event     evtchn:xenstored",
       "xen-dyn-lateeoi",
       {},
       trigger::edge,
       "event",
       {"evtchn:xenstored"}},
      {" 11: 1 2     GICv2  27 Level     arch_timer",
       "GICv2",
       27,
       trigger::level,
       "",
       {"arch_timer"}},
      {"  0: 131 0   IO-APIC   2-edge      timer",
       "IO-APIC",
       2,
       trigger::unsaid,
       "edge",
       {"timer"}},
      {" 27: 0 9   PCI-MSI 65536-edge      nvme0q0, nvme0q1",
       "PCI-MSI",
       65536,
       trigger::unsaid,
       "edge",
       {"nvme0q0", "nvme0q1"}},
      {"  2: 0 0    XT-PIC      cascade", "XT-PIC", {}, trigger::unsaid, "", {"cascade"}},
      // Kernels before about 3.11.
      {" 65: 4011288744 0  xen-percpu-ipi       resched0",
       "xen-percpu",
       {},
       trigger::unsaid,
       "ipi",
       {"resched0"}},
      {" 76: 310 0   xen-dyn-event     xenbus",
       "xen-dyn",
       {},
       trigger::unsaid,
       "event",
       {"xenbus"}},
      {"  1: 8 0  xen-pirq-ioapic-edge  i8042",
       "xen-pirq",
       {},
       trigger::unsaid,
       "ioapic-edge",
       {"i8042"}},
      {"  9: 0 0   IO-APIC-fasteoi   acpi", "IO-APIC", {}, trigger::unsaid, "fasteoi", {"acpi"}},
      // XenLinux.
      {"256: 3869054 0  Dynamic-irq-level     timer0",
       "Dynamic-irq",
       {},
       trigger::unsaid,
       "level",
       {"timer0"}},
      {" 16: 3240798 0  Phys-irq-level     uhci_hcd:usb3, libata, peth0",
       "Phys-irq",
       {},
       trigger::unsaid,
       "level",
       {"uhci_hcd:usb3", "libata", "peth0"}},
      {"256: 771659 0     Dynamic-irq  timer0", "Dynamic-irq", {}, trigger::unsaid, "", {"timer0"}},
      {"  1: 5 9   Dynamic-percpu     timer", "Dynamic", {}, trigger::unsaid, "percpu", {"timer"}},
      // Action names are separated by a comma and a space; a space alone is part of a name.
      {" 16: 1 2   IO-APIC  16-fasteoi   uhci_hcd:usb1, Intel RAS, eth 0",
       "IO-APIC",
       16,
       trigger::unsaid,
       "fasteoi",
       {"uhci_hcd:usb1", "Intel RAS", "eth 0"}},
      // The counts remain after the last action is removed.
      {" 60: 5 2  xen-dyn    -event   ", "xen-dyn", {}, trigger::unsaid, "event", {}},
      {" 61: 5 2  None   ", "None", {}, trigger::unsaid, "", {}},
  };
  for (const auto& expected : rows) {
    const auto row = row_of(expected.line);
    EXPECT_EQ(row.chip, expected.chip) << expected.line;
    EXPECT_EQ(row.hwirq, expected.hwirq) << expected.line;
    EXPECT_EQ(row.trigger, expected.trigger) << expected.line;
    EXPECT_EQ(row.handler, expected.handler) << expected.line;
    EXPECT_EQ(row.actions, expected.actions) << expected.line;
    EXPECT_EQ(row.counts.size(), 2U) << expected.line;
  }
}

TEST(interrupts, parses_rows_without_a_number_with_their_description) {
  const auto row = row_of("HYP:      26775       2010   Hypervisor callback interrupts");
  EXPECT_EQ(row.label, "HYP");
  EXPECT_FALSE(row.irq);
  EXPECT_EQ(row.total(), 28785U);
  EXPECT_EQ(row.description, "Hypervisor callback interrupts");
  EXPECT_THAT(row_of("ERR:          7").counts, ElementsAre(7U));
}

TEST(interrupts, names_columns_by_the_header_because_offline_cpus_have_none) {
  const auto table = parse("           CPU0       CPU2       CPU65\n 24: 1 2 3 xen-dyn -event a\n");
  EXPECT_THAT(table.cpus, ElementsAre(0U, 2U, 65U));
  EXPECT_THAT(table.find(24U)->counts, ElementsAre(1U, 2U, 3U));
}

TEST(interrupts, skips_a_broken_line_and_reports_it) {
  const auto table = parse(
      "           CPU0       CPU1\n 24: 1 2 xen-dyn -event a\n 25: 1\nnonsense\n: 1 2\n"
      " 26: 3 4 xen-dyn -event b\nNMI: many\n");
  EXPECT_EQ(table.rows.size(), 2U);
  EXPECT_THAT(table.problems, ElementsAre("1 counts for 2 CPUs: 25: 1", "no label: nonsense",
                                          "no label: : 1 2", "no counts: NMI: many"));
}

TEST(interrupts, refuses_text_without_a_header) {
  for (const auto* text : {"", "\n\n", " 24: 1 xen-dyn -event a\n", "CPU0 CPUx\n"}) {
    const auto table = parse_interrupts(text);
    ASSERT_FALSE(table) << text;
    EXPECT_EQ(table.error().text,
              "read /proc/interrupts: protocol violation (the first line lists no CPUs)");
  }
}

TEST(interrupts, reads_every_row_of_every_capture) {
  const std::vector<std::pair<std::string, std::size_t>> captures = {
      {"pv", 40},         {"pvh", 41}, {"hvm-vector", 45}, {"hvm-intx", 35},     {"dom0", 60},
      {"old-kernel", 25}, {"arm", 11}, {"cpus-64", 405},   {"xenlinux-dom0", 22}};
  for (const auto& [name, rows] : captures) {
    const test::captured_tree tree(name);
    const auto table = parse(tree.root().read("/proc/interrupts").value());
    EXPECT_EQ(table.rows.size(), rows) << name;
    EXPECT_THAT(table.problems, IsEmpty()) << name;
  }
}

}  // namespace
}  // namespace xenpv::channels
