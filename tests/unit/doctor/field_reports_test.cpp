// The facts that the doctor takes from posted files: logs with any prefix, excerpts, network
// queues. golden_test.cpp has the verdicts on the captures themselves.
#include <gmock/gmock.h>

#include "doctor/capture.hpp"
#include "doctor/log_prefix.hpp"
#include "doctor/notes.hpp"
#include "unit/doctor/checks_rig.hpp"
#include "unit/xen/fake_root.hpp"

namespace xenpv::doctor {
namespace {

using test::has_row;
using test::row;
using test::snapshot_of;
using test::value_of;
using test::with_log;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(log_prefix, of_dmesg_syslog_journal_and_console_loggers_is_removed) {
  for (const auto* line :
       {"vif vif-0: 2 text", "[    0.816282] vif vif-0: 2 text", "<4>[   12.5] vif vif-0: 2 text",
        "Oct 14 05:56:24 host kernel: [   15.479389] vif vif-0: 2 text",
        "Dec 11 09:44:20 localhost kernel: vif vif-0: 2 text",
        "[2024-01-09 23:29:50] [    1.244727] vif vif-0: 2 text",
        "2024-01-09T23:29:50+0100 host kernel: vif vif-0: 2 text",
        "[    1.349992] kernel: vif vif-0: 2 text", "[10831492.013407] vif vif-0: 2 text"})
    EXPECT_EQ(without_log_prefix(line), "vif vif-0: 2 text") << line;
}

TEST(log_prefix, is_not_confused_with_messages) {
  for (const auto* line :
       {"[<ffffffff815d1c2a>] schedule+0x2a/0x70", " [<ffffffff81004f4a>] ? xen_force+0xa/0x10",
        "[mem 0x40000000-0xfbffffff] available for PCI devices", "Booting paravirtualized kernel: ",
        "audit: a kernel: text", "<c>x", "[] x", "Decompressing kernel: done", ""})
    EXPECT_EQ(without_log_prefix(line), line);
  EXPECT_EQ(without_log_prefix("[    0.1]   indented"), "  indented");
}

TEST(device_error, is_found_with_any_drivers_name) {
  EXPECT_EQ(parse_device_error("xenconsole console-1: 2 xenbus_dev_probe on device/console/1")
                .value()
                .device,
            "console-1");
  EXPECT_EQ(parse_device_error("vif vif-76-0: 2 writing feature-sg").value().error, 2);
  for (const auto* line :
       {"usb 1-1: 5 secrets", "vif vif-x: 2 text", "vif vif-0: text", "vif vif-0: -2 text",
        "vif vif-0: 2", "hub 1-0:1.0: 2 ports detected", "ata2.00: 5 x"})
    EXPECT_FALSE(parse_device_error(line)) << line;
}

TEST(guest_identity, recognizes_xen_by_what_only_kernels_on_xen_print) {
  EXPECT_FALSE(with_log({"Linux version 6.1.0", "eth0: link up"}).on_xen());
  for (const auto* line :
       {"xen:grant_table: g.e. 0x735 still pending", "vif vif-0: 2 parsing device/vif/0/mac",
        "XENBUS: Device with no driver: device/vbd/2048", "Xen 4.16 support found",
        "blkfront: xvda: barriers enabled", "clocksource: Switched to clocksource xen",
        "Linux version 2.6.16-xenU (gcc)"})
    EXPECT_TRUE(with_log({line}).on_xen()) << line;
}

TEST(guest_identity, recognizes_arm_and_the_versions_by_the_log) {
  const auto snapshot = with_log({"Booting Linux on physical CPU 0x0", "Machine model: XENVM-4.4",
                                  "Linux version 3.16.0 (gcc)", "Xen 4.4 support found"});
  EXPECT_EQ(snapshot.identity.machine, architecture::arm);
  EXPECT_EQ(snapshot.identity.role, domain_role::guest);
  EXPECT_EQ(row(snapshot, "domain").summary, "ARM guest on Xen 4.4, Linux 3.16.0");
}

TEST(guest_identity, does_not_call_a_domain_a_guest_without_evidence) {
  const auto summary = row(with_log({"Booting paravirtualized kernel on Xen"}), "domain").summary;
  EXPECT_THAT(summary, HasSubstr("PV domain (guest or dom0)"));
  EXPECT_THAT(
      row(with_log({"ACPI in unprivileged domain disabled", "Booting kernel on Xen"}), "domain")
          .summary,
      HasSubstr("PV guest"));
}

TEST(guest_identity, counts_the_cpus_in_the_log) {
  for (const auto* line :
       {"Brought up 4 CPUs", "x86: Booted up 1 node, 4 CPUs", "smp: Brought up 1 node, 4 CPUs"})
    EXPECT_THAT(with_log({line}).online, ElementsAre(0, 1, 2, 3)) << line;
  for (const auto* line : {"Brought up many CPUs", "Brought up 0 CPUs", "Brought up 99999 CPUs",
                           "Brought up ", "Booted up  CPU"})
    EXPECT_THAT(with_log({line}).online, IsEmpty()) << line;
}

TEST(log_check, of_devices_ignores_a_cd_rom_drive_and_explains_a_missing_mac_address) {
  const auto cd = with_log({"vbd vbd-5632: 19 xenbus_dev_probe on device/vbd/5632"});
  EXPECT_FALSE(has_row(cd, "log-xenbus"));
  const auto vif = row(with_log({"vif vif-0: 2 parsing device/vif/0/mac"}), "log-xenbus");
  EXPECT_EQ(vif.verdict, health::fail);
  EXPECT_EQ(vif.summary,
            "a network interface does not work, because it has no MAC address: vif-0 (2 "
            "parsing device/vif/0/mac)");
  EXPECT_THAT(vif.remedy, HasSubstr("set mac="));
}

TEST(log_check, of_devices_finds_disks_that_never_got_a_driver) {
  const std::string lacking = "XENBUS: Device with no driver: device/vbd/2048";
  const auto result = row(with_log({lacking}), "log-xenbus");
  EXPECT_EQ(result.verdict, health::unknown);
  EXPECT_THAT(result.summary, HasSubstr("device/vbd/2048"));
  EXPECT_FALSE(has_row(with_log({lacking, "blkfront: xvda: barriers enabled"}), "log-xenbus"));
  EXPECT_FALSE(
      has_row(with_log({"XENBUS: Device with no driver: device/console/0"}), "log-xenbus"));
}

TEST(log_check, finds_crashes_in_xens_code_and_a_missing_root_disk) {
  const auto bug = row(with_log({"Xen version 4.14.", "kernel BUG at drivers/xen/events/x.c:369!",
                                 " xen_irq_resume+0x1b/0xe0"}),
                       "log-crash");
  EXPECT_EQ(bug.verdict, health::fail);
  EXPECT_THAT(bug.summary, HasSubstr("while it resumed"));
  const auto root = row(with_log({"Xen version 4.14.",
                                  "Kernel panic - not syncing: VFS: Unable to "
                                  "mount root fs on unknown-block(8,1)"}),
                        "log-crash");
  EXPECT_EQ(root.verdict, health::fail);
  EXPECT_THAT(root.remedy, HasSubstr("xvda1"));
  EXPECT_FALSE(has_row(with_log({"Xen version 4.14.", "kernel BUG at mm/slub.c:3!"}), "log-crash"));
}

TEST(clock_check, uses_the_last_clocksource_of_the_log) {
  const auto result = row(with_log({"Hypervisor detected: Xen PV", "Switching to clocksource hpet",
                                    "clocksource: Switched to clocksource xen"}),
                          "clocksource");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_EQ(result.summary, "the clock is Xen's PV clock (according to the kernel log)");
  EXPECT_EQ(row(with_log({"Hypervisor detected: Xen PV",
                          "clocksource: 'xen' (not 'tsc') is current clocksource."}),
                "clocksource")
                .verdict,
            health::pass);
  EXPECT_EQ(row(with_log({"Hypervisor detected: Xen PV"}), "clocksource").verdict, health::unknown);
}

TEST(timer_check, uses_the_log_where_it_covers_all_cpus) {
  const std::vector<std::string> lines = {"Hypervisor detected: Xen PV",
                                          "installing Xen timer for CPU 0",
                                          "installing Xen timer for CPU 1"};
  EXPECT_EQ(row(with_log(lines), "timer").verdict, health::unknown)
      << "the number of CPUs is unknown";
  auto more = lines;
  more.emplace_back("Brought up 2 CPUs");
  EXPECT_EQ(row(with_log(more), "timer").verdict, health::pass);
  more.back() = "Brought up 4 CPUs";
  EXPECT_EQ(row(with_log(more), "timer").verdict, health::unknown);
}

TEST(unparsed_lines, are_reported_and_quoted) {
  const auto result = row(snapshot_of("field-bare-metal-wrapped"), "unparsed");
  EXPECT_EQ(result.verdict, health::unknown);
  EXPECT_THAT(result.summary, HasSubstr("3 lines of /proc/interrupts cannot be parsed"));
  EXPECT_EQ(result.evidence.front().value, "no label: arch_timer");
  EXPECT_EQ(row(snapshot_of("field-no-header"), "unparsed").summary,
            "/proc/interrupts cannot be parsed: its header is missing");
  EXPECT_FALSE(has_row(snapshot_of("pvh"), "unparsed"));
  EXPECT_FALSE(has_row(snapshot_of("pv-log-only"), "unparsed")) << "other rows report it";
}

/// 4 CPUs, and all events of a busy interface on CPU 0.
void swamp_cpu_0(xenpv::test::captured_tree& tree) {
  tree.with("/proc/interrupts",
            "           CPU0       CPU1       CPU2       CPU3\n"
            " 69:        100          0          0          0   xen-dyn    -event     xenbus\n"
            " 70:    9650000          0          0          0   xen-dyn    -event     eth0\n"
            " 71:          0     350000          0          0   xen-dyn    -event     blkif\n"
            "RES:          0          0          0          0   Rescheduling interrupts\n")
      .with("/sys/hypervisor/type", "xen\n");
}

TEST(spread_check, of_one_busy_network_queue_depends_on_rps) {
  xenpv::test::captured_tree tree("field-irqbalance-vif");
  swamp_cpu_0(tree);
  EXPECT_THAT(row(take_snapshot(tree.place()), "spread").remedy, HasSubstr("if that CPU is busy"));
  tree.with("/sys/bus/xen/devices/vif-0/net/eth0", "\n")
      .with("/sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n")
      .with("/sys/class/net/eth0/queues/tx-0/traffic_class", "0\n");
  const auto off = row(take_snapshot(tree.place()), "spread");
  EXPECT_EQ(off.verdict, health::pass) << "counts do not show whether the CPU is busy";
  EXPECT_EQ(off.summary,
            "96.5 % of the events of movable channels went to CPU 0, most of them of eth0; RPS is "
            "off: one CPU processes its packets");
  EXPECT_THAT(off.remedy, HasSubstr("rps_cpus"));
  tree.with("/sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,0000000e\n");
  EXPECT_EQ(row(take_snapshot(tree.place()), "spread").verdict, health::pass);
}

TEST(spread_check, tells_that_irqbalance_does_not_move_the_channels) {
  auto snapshot = snapshot_of("field-irqbalance-vif");
  EXPECT_THAT(row(snapshot, "spread").remedy, Not(HasSubstr("irqbalance")));
  snapshot.irqbalance_runs = true;
  EXPECT_EQ(row(snapshot, "spread").verdict, health::warn);
  EXPECT_THAT(row(snapshot, "spread").remedy, HasSubstr("irqbalance runs, but does not move"));
  EXPECT_EQ(value_of(row(snapshot, "spread"), "irqbalance"), "runs");
}

TEST(network_interfaces, show_their_queues_and_masks) {
  xen::test::fake_root tree;
  tree.with("/sys/bus/xen/devices/vif-1/net/enX1", "")
      .with("/sys/bus/xen/devices/vbd-51712/block/xvda", "")
      .with("/sys/class/net/enX1/queues/rx-0/rps_cpus", "0\n")
      .with("/sys/class/net/enX1/queues/rx-1/rps_cpus", "ff\n")
      .with("/sys/class/net/enX1/queues/tx-0/xps_cpus", "\n")
      .with("/sys/bus/xen/devices/vif-2/net/enX2", "")
      .with("/sys/class/net/enX2/queues/rx-0/rps_cpus", "\n");
  const auto all = read_network_interfaces(tree.root());
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].device, "vif-1");
  EXPECT_EQ(all[0].rx_queues, 2U);
  EXPECT_EQ(all[0].uses_rps, true);
  EXPECT_EQ(all[1].uses_rps, std::nullopt) << "an empty mask is no mask";
}

TEST(capture, keeps_the_queues_of_network_devices) {
  xenpv::test::captured_tree tree("pvh");
  tree.with("/sys/bus/xen/devices/vif-0/net/eth0", "")
      .with("/sys/class/net/eth0/queues/rx-0/rps_cpus", "f\n")
      .with("/sys/class/net/lo/queues/rx-0/rps_cpus", "f\n");
  xen::test::fake_root again;
  for (const auto& file : collect_capture(tree.place())) {
    EXPECT_THAT(file.path, Not(HasSubstr("/net/lo/"))) << "only PV devices";
    again.with(file.path, file.content);
  }
  const auto all = read_network_interfaces(again.root());
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].name, "eth0");
  EXPECT_EQ(all[0].uses_rps, true);
}

TEST(irqbalance, is_found_among_the_processes) {
  xen::test::fake_root tree;
  EXPECT_EQ(find_irqbalance(tree.root()), std::nullopt);
  tree.with("/proc/1/comm", "systemd\n");
  EXPECT_EQ(find_irqbalance(tree.root()), false);
  tree.with("/proc/712/comm", "irqbalance\n");
  EXPECT_EQ(find_irqbalance(tree.root()), true);
  guest_snapshot snapshot;
  snapshot.irqbalance_runs = true;
  guest_snapshot again;
  take_notes(format_notes(snapshot), again);
  EXPECT_EQ(again.irqbalance_runs, true);
}

TEST(frontend_check, names_what_a_network_device_could_use) {
  auto snapshot = snapshot_of("pvh");
  const channels::store_nodes nodes = {{"device/vif/0/state", "4"},
                                       {"device/vif/0/backend", "/local/domain/0/backend/vif/9/0"},
                                       {"/local/domain/0/backend/vif/9/0/feature-sg", "1"}};
  snapshot.frontends = make_frontend_facts({}, nodes);
  snapshot.networks = {{.device = "vif-0", .name = "eth0", .rx_queues = 1, .uses_rps = false}};
  const auto result = row(snapshot, "device-vif-0");
  EXPECT_EQ(result.summary, "vif-0 is connected, RPS off");
  EXPECT_THAT(result.remedy,
              HasSubstr("write a CPU mask to /sys/class/net/eth0/queues/rx-*/rps_cpus"));
  EXPECT_THAT(result.remedy, HasSubstr("TCP segmentation offload, which this backend lacks"));
}

}  // namespace
}  // namespace xenpv::doctor
