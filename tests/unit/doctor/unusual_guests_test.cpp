// The doctor's verdicts on unusual guests, as users reported them: old kernels, ARM, partial
// captures, broken counters, devices that do not work. The captures name their sources.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "doctor/notes.hpp"
#include "unit/doctor/checks_rig.hpp"
#include "unit/xen/fake_root.hpp"

namespace xenpv::doctor {
namespace {

using test::has_row;
using test::kernel_row;
using test::row;
using test::snapshot_of;
using test::value_of;
using testing::HasSubstr;
using testing::Not;

TEST(unusual_guest, with_wrapped_call_counters_has_only_pv_ipis) {
  const auto result = row(snapshot_of("calls-wrapped"), "ipi");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_EQ(result.summary, "all IPIs since boot went through the hypervisor");
  EXPECT_THAT(value_of(result, "/proc/interrupts CAL"), HasSubstr("4286015824"));
}

TEST(unusual_guest, with_wrapped_counters_and_apic_ipis_still_has_apic_ipis) {
  auto snapshot = snapshot_of("calls-wrapped");
  for (auto& count : kernel_row(snapshot, "CAL").counts)
    count = (count + 40'000'000) & 0xFFFFFFFF;
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::warn);
}

TEST(unusual_guest, without_row_hyp_proves_its_upcall_and_timer_by_their_rows) {
  const auto snapshot = snapshot_of("no-hyp-row");
  const auto upcall = row(snapshot, "upcall");
  EXPECT_EQ(upcall.verdict, health::pass);
  EXPECT_EQ(upcall.summary,
            "events arrive on each vCPU, through a callback vector or the PV callback");
  EXPECT_EQ(value_of(upcall, "/proc/interrupts xen-percpu, by CPU"), "824050 710845");
  const auto timer = row(snapshot, "timer");
  EXPECT_EQ(timer.verdict, health::pass);
  EXPECT_EQ(timer.summary, "the PV timer drives all 2 CPUs: only rows timerN count");
  EXPECT_EQ(value_of(timer, "/proc/interrupts LOC"), "0 0");
}

TEST(unusual_guest, without_clockevents_and_with_apic_timer_ticks_has_an_unknown_timer) {
  auto snapshot = snapshot_of("no-hyp-row");
  kernel_row(snapshot, "LOC").counts = {90'000, 80'000};
  EXPECT_EQ(row(snapshot, "timer").verdict, health::unknown);
  EXPECT_THAT(row(snapshot, "timer").remedy,
              HasSubstr("compare the growth of rows timerN and LOC"));
}

TEST(unusual_guest, that_logs_its_vector_has_one) {
  auto snapshot = snapshot_of("no-xen-rows");
  EXPECT_EQ(row(snapshot, "upcall").verdict, health::unknown);
  snapshot.log.lines = {"xen:events: Xen HVM callback vector for event delivery is enabled"};
  EXPECT_EQ(row(snapshot, "upcall").verdict, health::pass);
}

TEST(unusual_guest, on_arm_follows_the_rules_of_arm) {
  const auto snapshot = snapshot_of("arm64-guest");
  EXPECT_EQ(row(snapshot, "domain").summary,
            "ARM guest on Xen 4.20.4, Linux 6.12.117+deb13-arm64, 2 CPUs");
  const auto upcall = row(snapshot, "upcall");
  EXPECT_EQ(upcall.verdict, health::pass);
  EXPECT_EQ(value_of(upcall, "/proc/interrupts 12 (GICv3 events)"), "133 422");
  EXPECT_EQ(row(snapshot, "timer").verdict, health::pass);
  EXPECT_EQ(value_of(row(snapshot, "timer"), "/proc/interrupts arch_timer"), "1893 1634");
  EXPECT_FALSE(has_row(snapshot, "timer-slop"));
  const auto ipi = row(snapshot, "ipi");
  EXPECT_EQ(ipi.verdict, health::pass);
  EXPECT_EQ(value_of(ipi, "/proc/interrupts IPI0 (Rescheduling interrupts)"), "2212 3001");
  EXPECT_THAT(ipi.summary, Not(HasSubstr("APIC")));
}

TEST(unusual_guest, that_is_domain_0_on_arm_follows_the_rules_of_arm) {
  const auto snapshot = snapshot_of("arm");
  EXPECT_EQ(row(snapshot, "upcall").verdict, health::pass);
  EXPECT_EQ(row(snapshot, "timer").verdict, health::pass) << "row arch_timer counts";
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::pass);
}

TEST(unusual_guest, on_arm_with_another_timer_is_told_so) {
  auto snapshot = snapshot_of("arm64-guest");
  snapshot.clock.events[1].device = "dummy_timer";
  EXPECT_EQ(row(snapshot, "timer").verdict, health::warn);
  EXPECT_THAT(row(snapshot, "timer").summary, HasSubstr("CPU 1 uses the timer 'dummy_timer'"));
}

TEST(unusual_guest, with_a_dead_network_device_fails_and_quotes_the_driver) {
  const auto snapshot = snapshot_of("dead-vif");
  const auto result = row(snapshot, "device-vif-0");
  EXPECT_EQ(result.verdict, health::fail);
  EXPECT_EQ(result.summary,
            "vif-0 does not work: its driver failed with error 1 allocating event channel");
  EXPECT_EQ(value_of(result, "/sys/bus/xen/devices/vif-0/state"), "Closed");
  EXPECT_EQ(value_of(result, "error/device/vif/0/error"), "1 allocating event channel");
  EXPECT_EQ(value_of(result, "kernel log"), "vif vif-0: 1 allocating event channel");
  EXPECT_THAT(result.remedy, HasSubstr("XSM"));
  EXPECT_EQ(row(snapshot, "device-vkbd-0").verdict, health::pass);
}

TEST(unusual_guest, judges_devices_by_xenstore_where_sysfs_shows_no_state) {
  auto snapshot = snapshot_of("dead-vif");
  snapshot.frontends =
      make_frontend_facts({}, {{"device/9pfs/0/state", "6"},
                               {"device/pci/0/state", "3"},
                               {"device/pci/0/backend", "/local/domain/0/backend/pci/9/0"},
                               {"/local/domain/0/backend/pci/9/0/state", "2"},
                               {"device/vfb/0/state", "1"},
                               {"device/vif/x/state", "6"},
                               {"device/vbd/51712/state", "6"},
                               {"device/suspend/event-channel", "6"}});
  EXPECT_EQ(snapshot.frontends.size(), 3U);
  EXPECT_EQ(row(snapshot, "device-9pfs-0").verdict, health::fail);
  EXPECT_EQ(row(snapshot, "device-pci-0").summary,
            "pci-0 is not connected (Initialised, its backend is InitWait): PCI passthrough does "
            "not work");
  EXPECT_EQ(row(snapshot, "device-vfb-0").verdict, health::warn) << "a guest works without it";
}

TEST(frontend_check, compares_the_queues_of_a_network_device_with_the_cpus) {
  auto snapshot = snapshot_of("pvh");
  channels::store_nodes nodes = {{"device/vif/0/state", "4"},
                                 {"device/vif/0/backend", "/local/domain/0/backend/vif/9/0"},
                                 {"/local/domain/0/backend/vif/9/0/multi-queue-max-queues", "4"}};
  snapshot.frontends = make_frontend_facts({}, nodes);
  EXPECT_EQ(row(snapshot, "device-vif-0").summary, "vif-0 is connected, 1 of 4 queues");
  EXPECT_THAT(row(snapshot, "device-vif-0").remedy, HasSubstr("up to 2"));
  nodes["device/vif/0/multi-queue-num-queues"] = "2";
  snapshot.frontends = make_frontend_facts({}, nodes);
  EXPECT_EQ(row(snapshot, "device-vif-0").summary, "vif-0 is connected, 2 of 4 queues");
  EXPECT_EQ(row(snapshot, "device-vif-0").remedy, "");
}

TEST(unusual_guest, with_an_impossible_steal_counter_is_told_of_a_kernel_bug) {
  const auto result = row(snapshot_of("steal-overflow"), "steal");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(
      result.summary,
      "CPU 0's steal counter is wrong, a kernel bug: it shows 477 years, but the guest has run "
      "for about 149 days, by its other times");
}

TEST(unusual_guest, compares_stolen_time_with_the_time_since_boot) {
  xenpv::test::captured_tree tree("steal-overflow");
  tree.with("/proc/stat", "cpu0 1000 0 1000 1000 0 0 0 900000\n")
      .with("/proc/uptime", "120.5 9.0\n");
  EXPECT_THAT(row(take_snapshot(tree.place()), "steal").summary,
              HasSubstr("shows 2 hours, but the guest has run for 2 minutes"));
  tree.with("/proc/uptime", "90000.5 9.0\n");
  EXPECT_EQ(row(take_snapshot(tree.place()), "steal").verdict, health::unknown);
}

TEST(unusual_guest, uses_the_disk_names_of_linux) {
  const auto snapshot = snapshot_of("toolstack-names");
  for (const auto* name : {"xvda", "xvda1"}) {
    const auto result = row(snapshot, fmt::format("disk-{}", name));
    EXPECT_EQ(result.verdict, health::warn) << name;
    EXPECT_THAT(result.summary, HasSubstr("a write cache that the kernel does not flush")) << name;
    EXPECT_EQ(value_of(result, fmt::format("/sys/block/{}/queue/max_segments", name)), "11");
  }
}

TEST(unusual_guest, with_debug_rows_of_an_old_kernel_has_an_unknown_abi) {
  auto snapshot = snapshot_of("debug-rows");
  const auto abi = row(snapshot, "event-abi");
  EXPECT_EQ(abi.verdict, health::unknown);
  const auto use = row(snapshot, "event-channels");
  EXPECT_EQ(use.verdict, health::pass);
  EXPECT_EQ(use.summary, "at least 12 event channels in use; every ABI allows at least 4096");
  EXPECT_EQ(value_of(use, "ABI limit (event_channel.h)"),
            "at least 4096 (the lowest of a 64-bit kernel)");
  snapshot.from.guest.xen_version = "4.2.amazon";
  EXPECT_THAT(row(snapshot, "event-abi").summary, HasSubstr("2-level"))
      << "Xen 4.2 has no other ABI";
  snapshot.from.guest.xen_version = "4.11.amazon";
  snapshot.kernel = "6.1.0-56-amd64";
  EXPECT_THAT(row(snapshot, "event-abi").summary, HasSubstr("2-level"))
      << "Linux 6.1 has the rows only with this ABI";
  snapshot.kernel = "3.10.0-1160.el7.x86_64";
  EXPECT_EQ(row(snapshot, "event-abi").verdict, health::unknown)
      << "an enterprise kernel may contain later features";
}

TEST(unusual_guest, whose_rows_are_an_excerpt_has_an_unknown_abi) {
  auto snapshot = snapshot_of("debug-rows");
  std::erase_if(snapshot.channels.channels, [](const channels::channel& channel) {
    return channel.kind == channels::channel_kind::debug;
  });
  EXPECT_EQ(row(snapshot, "event-abi").verdict, health::unknown)
      << "a gap between the IRQ numbers shows where the debug row was";
  for (auto& channel : snapshot.channels.channels)
    if (channel.detail == "callfuncsingle") --*channel.irq;
  EXPECT_THAT(row(snapshot, "event-abi").summary, HasSubstr("FIFO"));
}

TEST(unusual_guest, with_32_bits_has_only_1024_ports) {
  auto snapshot = snapshot_of("pv-32bit-2level");
  const auto result = row(snapshot, "event-channels");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(result.summary, "908 event channels in use; the ABI allows 1024");
  snapshot.from.ports.value->resize(950);
  EXPECT_EQ(row(snapshot, "event-channels").verdict, health::fail);
  snapshot.identity.is_64_bit.reset();
  EXPECT_EQ(row(snapshot, "event-channels").verdict, health::unknown);
}

TEST(unusual_guest, without_a_reported_type_is_identified_by_the_log) {
  const auto snapshot = snapshot_of("pv-no-type");
  const auto domain = row(snapshot, "domain");
  EXPECT_EQ(domain.verdict, health::pass);
  EXPECT_EQ(domain.summary, "PV guest on Xen 3.4.2, Linux 2.6.32-5-amd64, 2 CPUs");
  EXPECT_EQ(value_of(domain, "kernel log"), "Booting paravirtualized kernel on Xen");
  EXPECT_EQ(row(snapshot, "upcall").summary, "events arrive through the PV callback of each vCPU");
  EXPECT_EQ(row(snapshot, "timer").verdict, health::pass);
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::pass);
}

TEST(unusual_guest, of_unknown_type_is_described_as_far_as_it_is_known) {
  auto snapshot = snapshot_of("pv-32bit-2level");
  EXPECT_EQ(row(snapshot, "domain").summary,
            "the control domain (dom0), PV on Xen 4.0.1, Linux 2.6.32-5-xen-686, 1 CPU");
  snapshot.from.guest.type = xen::guest_type::unknown;
  EXPECT_EQ(row(snapshot, "domain").verdict, health::unknown);
  EXPECT_EQ(row(snapshot, "domain").summary,
            "the control domain (dom0), on Xen 4.0.1, Linux 2.6.32-5-xen-686, 1 CPU");
}

TEST(unusual_guest, hvm_and_pvh_are_told_apart_by_the_banner) {
  const auto type_of = [](const std::string& line) {
    channels::raw_facts facts;
    facts.guest.type = xen::guest_type::unknown;
    std::string kernel;
    (void)identify_guest(facts, kernel, {.lines = {line}});
    return facts.guest.type;
  };
  EXPECT_EQ(type_of("Booting paravirtualized kernel on Xen"), xen::guest_type::pv);
  EXPECT_EQ(type_of("Booting paravirtualized kernel on Xen HVM"), xen::guest_type::hvm);
  EXPECT_EQ(type_of("Booting paravirtualized kernel on Xen PVH"), xen::guest_type::pvh);
  EXPECT_EQ(type_of("Booting paravirtualized kernel with PVH extensions on Xen"),
            xen::guest_type::pvh);
  EXPECT_EQ(type_of("Booting paravirtualized kernel on bare hardware"), xen::guest_type::unknown);
}

TEST(unusual_guest, without_event_channel_rows_is_judged_by_the_hypervisors_list) {
  auto snapshot = snapshot_of("no-xen-rows");
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::unknown);
  EXPECT_EQ(row(snapshot, "event-channels").verdict, health::unknown);
  EXPECT_EQ(row(snapshot, "spread").verdict, health::unknown);
  std::vector<xen::port_status> ports;
  for (std::uint32_t i = 0; i < 6; ++i)
    ports.push_back({.number = port{i + 1}, .type = xen::port_type::ipi, .vcpu = i / 3});
  snapshot.from.ports = {.value = ports};
  const auto result = row(snapshot, "ipi");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_EQ(value_of(result, "EVTCHNOP_status, IPI ports"), "CPUs 0-1");
}

TEST(unusual_guest, of_which_only_the_log_exists_is_judged_by_it) {
  const auto snapshot = snapshot_of("pv-log-only");
  EXPECT_EQ(row(snapshot, "domain").summary,
            "PV domain (guest or dom0) on Xen 4.4.3, Linux 3.10.96-13.pvops.qubes.x86_64");
  EXPECT_EQ(row(snapshot, "upcall").verdict, health::pass);
  EXPECT_EQ(row(snapshot, "timer").verdict, health::unknown);
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::unknown);
  EXPECT_EQ(row(snapshot, "event-abi").verdict, health::pass);
  EXPECT_THAT(row(snapshot, "disk-xvda").summary,
              HasSubstr("flush diskcache: enabled; persistent grants: enabled"));
}

TEST(unusual_guest, reports_the_errors_in_its_log) {
  const auto snapshot = snapshot_of("pv-log-only");
  const auto disks = row(snapshot, "log-disks");
  EXPECT_EQ(disks.verdict, health::fail);
  EXPECT_EQ(disks.summary,
            "PV disks had I/O errors, and the backend refused flushes that it had offered");
  const auto xenbus = row(snapshot, "log-xenbus");
  EXPECT_EQ(xenbus.verdict, health::fail);
  EXPECT_EQ(xenbus.summary,
            "a network interface does not work, because it has no MAC address: vif-0 (2 parsing "
            "device/vif/0/mac)");
  EXPECT_EQ(row(snapshot, "log-pci").verdict, health::warn);
  const auto stalls = row(snapshot, "log-stalls");
  EXPECT_EQ(stalls.summary, "1 stall of a CPU or task with a PV driver in its trace");
  EXPECT_THAT(stalls.evidence.back().value, HasSubstr("xennet_poll+0x2cf/0xbf0"));
}

TEST(unusual_guest, that_waited_for_a_framebuffer_is_otherwise_healthy) {
  auto snapshot = snapshot_of("pv");
  snapshot.log.lines = {
      "XENBUS: Timeout connecting to device: device/vfb/0 (local state 3, remote state 1)"};
  EXPECT_THAT(row(snapshot, "log-xenbus").summary, HasSubstr("nothing else is affected"));
}

TEST(unusual_guest, with_refused_discards_is_healthy_and_with_refused_flushes_is_not) {
  auto snapshot = snapshot_of("pv");
  snapshot.log.lines = {"blkfront: xvdb: discard op failed"};
  EXPECT_EQ(row(snapshot, "log-disks").verdict, health::pass);
  snapshot.log.lines = {"blkfront: xvdb: flush diskcache op failed"};
  EXPECT_EQ(row(snapshot, "log-disks").verdict, health::warn);
}

TEST(unusual_guest, without_a_platform_device_has_no_pv_drivers_unless_it_is_pvh) {
  EXPECT_EQ(row(snapshot_of("hvm-no-platform"), "log-platform").verdict, health::fail);
  EXPECT_EQ(row(snapshot_of("pvh-magic"), "log-platform").verdict, health::pass);
  auto snapshot = snapshot_of("hvm-no-platform");
  snapshot.from.guest.type = xen::guest_type::unknown;
  EXPECT_EQ(row(snapshot, "log-platform").verdict, health::unknown);
  snapshot.from.guest.type = xen::guest_type::hvm;
  snapshot.command_line = "xen_emul_unplug=unnecessary";
  EXPECT_EQ(row(snapshot, "log-platform").verdict, health::pass);
}

TEST(unusual_guest, that_is_domain_0_with_waiting_backends_names_them) {
  const auto result = row(snapshot_of("dom0-stuck"), "back-ends");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(result.summary,
            "2 backends not connected: vbd-4-51712 waits for its hotplug script (Initialising), "
            "vif-3-0 waits for its frontend or hotplug script (InitWait)");
}

TEST(unusual_guest, with_a_full_grant_table_fails_and_names_the_hosts_limit) {
  const auto snapshot = snapshot_of("grants-exhausted");
  const auto result = row(snapshot, "grant-table");
  EXPECT_EQ(result.verdict, health::fail);
  EXPECT_THAT(result.remedy, HasSubstr("gnttab_max_frames"));
  EXPECT_THAT(result.evidence.front().value, HasSubstr("cur=32 extra=1 limit=32"));
  const auto clock = row(snapshot, "log-clock");
  EXPECT_EQ(clock.verdict, health::pass);
  EXPECT_THAT(clock.summary, HasSubstr("it now uses xen"));
}

TEST(unusual_guest, that_ignores_its_clocksource_option_is_told_so) {
  auto snapshot = snapshot_of("pvh");
  snapshot.command_line = "clocksource=tsc";
  EXPECT_EQ(row(snapshot, "log-clock").verdict, health::warn);
  snapshot.command_line = "clocksource=xen";
  EXPECT_FALSE(has_row(snapshot, "log-clock"));
}

TEST(unusual_guest, in_the_simulator_says_so) {
  auto snapshot = snapshot_of("pvh");
  snapshot.is_simulated = true;
  EXPECT_THAT(row(snapshot, "domain").summary, HasSubstr("simulated by xenpv-sim"));
}

TEST(xenbus_devices, read_counters_that_the_kernel_prints_as_negative) {
  xen::test::fake_root tree;
  const std::string folder = "/sys/bus/xen-backend/devices/vif-3-0/xenbus/";
  tree.with(folder + "event_channels", "2\n")
      .with(folder + "events", "-2147483647\n")
      .with(folder + "spurious_events", "7\n");
  const auto devices = read_xenbus_devices(tree.root());
  ASSERT_EQ(devices.size(), 1U);
  EXPECT_EQ(devices[0].counters->events, 2'147'483'649U);
  EXPECT_EQ(devices[0].counters->spurious_events, 7U);
}

TEST(kernel_log, keeps_the_errors_of_pv_devices_and_the_traces_of_stalls_in_a_capture) {
  const kernel_log log{
      .lines = {"XENBUS: Unable to read cpu state", "vif vif-0: 2 parsing device/vif/0/mac",
                "pci 0000:00:00.0: pci frontend enable msi failed for dev 0:0",
                "end_request: I/O error, dev xvda2, sector 52743", "usb 1-1: 5 secrets",
                "INFO: task kworker/0:1:27 blocked for more than 120 seconds.",
                " [<ffffffff815d1c2a>] schedule+0x2a/0x70", "eth0: link up"}};
  const auto kept = without_foreign_lines(log).lines;
  EXPECT_THAT(kept, testing::ElementsAre(log.lines[0], log.lines[1], log.lines[2], log.lines[3],
                                         log.lines[5], log.lines[6]));
}

TEST(kernel_log, of_a_user_may_have_the_prefixes_of_dmesg) {
  const auto log = parse_kernel_log(
      "partial\n[    0.017155] Booting paravirtualized kernel on Xen\n<4>[   12.5] x\n"
      "[<ffffffff815d1c2a>] schedule+0x2a/0x70\n");
  EXPECT_THAT(log.lines, testing::ElementsAre("Booting paravirtualized kernel on Xen", "x",
                                              "[<ffffffff815d1c2a>] schedule+0x2a/0x70"));
}

TEST(unusual_guest, with_xenlinux_is_a_pv_domain_with_pv_timers_and_ipis) {
  const auto snapshot = snapshot_of("xenlinux-dom0");
  EXPECT_THAT(row(snapshot, "domain").summary, HasSubstr("the control domain (dom0), PV on Xen"));
  EXPECT_EQ(row(snapshot, "timer").summary,
            "the PV timer drives all 4 CPUs: only rows timerN count");
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::pass);
  EXPECT_EQ(row(snapshot, "event-abi").verdict, health::pass);
  EXPECT_THAT(row(snapshot, "event-channels").summary, HasSubstr("at least 19 event channels"));
}

// Without effective affinities, the balancer and the doctor both judge the columns.
TEST(unusual_guest, with_channels_that_moved_is_judged_by_the_columns) {
  const auto result = row(snapshot_of("moved-channels"), "spread");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_THAT(result.summary, HasSubstr("are spread: 25.7 % of them went to the busiest CPU"));
}

TEST(cpu_sample, survives_a_capture) {
  const cpu_sample sample{.times = {{.cpu = 1, .busy = 5, .idle = 7, .steal = 3}},
                          .interval = std::chrono::milliseconds(1200)};
  const auto again = parse_cpu_sample(format_cpu_sample(sample));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->times, sample.times);
  EXPECT_EQ(again->interval, sample.interval);
  EXPECT_FALSE(parse_cpu_sample("interval_ns x\ncpu0 1 0 0 1 0 0 0 0\n"));
}

TEST(uptime, of_a_capture_follows_from_the_boot_time_and_the_time_of_the_capture) {
  xen::test::fake_root tree;
  EXPECT_FALSE(read_uptime(tree.root()));
  tree.with("/proc/stat", "cpu0 1 0 0 1 0 0 0 0\nbtime 1447402010\n")
      .with("/xenpv/about", "time 2015-11-13T08:07:50Z\n");
  EXPECT_EQ(read_uptime(tree.root()), std::chrono::seconds(60));
  tree.with("/proc/uptime", "99.72 12.00\n");
  EXPECT_EQ(read_uptime(tree.root()), std::chrono::seconds(99));
}

TEST(notes, of_a_capture_contain_the_platform) {
  guest_snapshot snapshot;
  snapshot.hypervisor_elsewhere = "KVM";
  snapshot.identity.is_64_bit = true;
  guest_snapshot again;
  take_notes(format_notes(snapshot), again);
  EXPECT_EQ(again.hypervisor_elsewhere, "KVM");
  EXPECT_EQ(again.identity.is_64_bit, true);
  snapshot.hypervisor_elsewhere = "";
  take_notes(format_notes(snapshot), again);
  EXPECT_EQ(again.hypervisor_elsewhere, "");
}

}  // namespace
}  // namespace xenpv::doctor
