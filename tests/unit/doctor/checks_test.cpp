// The doctor's check results for captured guests, and for captures modified to show a fault.
#include <fmt/format.h>
#include <gmock/gmock.h>

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
using testing::IsEmpty;
using testing::Not;

TEST(checks, every_result_quotes_evidence_and_every_bad_one_has_a_remedy) {
  for (const auto* name : {"pv",          "pv-doctor",       "pvh",
                           "hvm-vector",  "hvm-intx",        "dom0",
                           "cpus-64",     "old-kernel",      "arm",
                           "arm64-guest", "calls-wrapped",   "no-hyp-row",
                           "dead-vif",    "steal-overflow",  "toolstack-names",
                           "debug-rows",  "pv-32bit-2level", "pv-no-type",
                           "pv-log-only", "hvm-no-platform", "pvh-magic",
                           "dom0-stuck",  "no-xen-rows",     "grants-exhausted"})
    for (const auto& entry : run_checks(snapshot_of(name))) {
      EXPECT_THAT(entry.evidence, Not(IsEmpty())) << name << " " << entry.id;
      EXPECT_THAT(entry.summary, Not(IsEmpty())) << name << " " << entry.id;
      EXPECT_TRUE(entry.verdict == health::pass || !entry.remedy.empty())
          << name << " " << entry.id;
    }
}

TEST(checks, of_a_guest_on_real_xen_match_its_own_report) {
  const auto snapshot = snapshot_of("pv-doctor");
  EXPECT_EQ(
      row(snapshot, "disk-xvda").summary,
      "xvda: persistent grants, 2 of 2 queues, ring order 0 of 4, 32 segments per request, flush");
  EXPECT_EQ(
      row(snapshot, "disk-xvdb").summary,
      "xvdb: persistent grants, 2 of 2 queues, ring order 0 of 4, 32 segments per request, no "
      "flush: the backend reports no write cache");
  EXPECT_EQ(row(snapshot, "event-abi").evidence.front(),
            (quote{"kernel log", "xen:events: Using FIFO-based ABI"}));
  EXPECT_EQ(row(snapshot, "gntalloc").verdict, health::pass);
  EXPECT_EQ(row(snapshot, "migration").summary, "never migrated or restored since it was built");
  EXPECT_EQ(row(snapshot, "clock-read").verdict, health::warn);
  EXPECT_EQ(value_of(row(snapshot, "clocksource"), "CPUID base+3 (time)"),
            "TSC emulated, host TSC not safe, tsc_mode 0");
}

TEST(checks, report_the_kind_of_the_domain) {
  EXPECT_EQ(row(snapshot_of("pv"), "domain").summary,
            "PV domain (guest or dom0) on Xen 4.17.7, Linux 6.1.0-56-amd64, 2 CPUs");
  EXPECT_EQ(row(snapshot_of("dom0"), "domain").summary,
            "the control domain (dom0), PV on Xen 4.17.7, Linux 6.1.0-56-amd64, 2 CPUs");
  EXPECT_EQ(row(snapshot_of("hvm-intx"), "domain").verdict, health::pass);
}

TEST(checks, off_xen_report_that_and_cover_only_generic_facts) {
  auto snapshot = snapshot_of("pv");
  snapshot.from.guest.type = xen::guest_type::none;
  snapshot.hypervisor_elsewhere = "KVM";
  snapshot.clock.clocksource = "kvm-clock";
  const auto result = run_checks(snapshot);
  EXPECT_EQ(result.front().verdict, health::unknown);
  EXPECT_EQ(result.front().summary, "not a Xen domain: the hypervisor is KVM");
  snapshot.hypervisor_elsewhere = "";
  EXPECT_THAT(run_checks(snapshot).front().summary, HasSubstr("bare metal"));
  snapshot.hypervisor_elsewhere.reset();
  EXPECT_EQ(run_checks(snapshot).front().summary,
            "nothing in the capture shows a Xen domain, or which hypervisor runs it, if any");
  EXPECT_EQ(row(snapshot, "clocksource").verdict, health::pass);
  EXPECT_FALSE(has_row(snapshot, "upcall"));
  EXPECT_FALSE(has_row(snapshot, "devices"));
}

TEST(upcall_check, passes_the_pv_callback_and_a_vector_on_each_cpu) {
  EXPECT_EQ(row(snapshot_of("pv"), "upcall").verdict, health::pass);
  const auto vector = row(snapshot_of("hvm-vector"), "upcall");
  EXPECT_EQ(vector.verdict, health::pass);
  EXPECT_EQ(value_of(vector, "/proc/interrupts HYP"), "4150 5065");
}

TEST(upcall_check, fails_the_pci_interrupt_and_names_the_option_that_caused_it) {
  const auto result = row(snapshot_of("hvm-intx"), "upcall");
  EXPECT_EQ(result.verdict, health::fail);
  EXPECT_EQ(value_of(result, "/proc/interrupts xen-platform-pci"), "536 0");
  EXPECT_EQ(result.remedy, "remove xen_no_vector_callback from the kernel command line and reboot");
}

TEST(upcall_check, blames_the_hypervisor_if_no_option_disabled_the_vector) {
  auto snapshot = snapshot_of("hvm-intx");
  snapshot.command_line = "console=hvc0";
  EXPECT_THAT(row(snapshot, "upcall").remedy,
              HasSubstr("the hypervisor offers no callback vector"));
}

TEST(upcall_check, warns_of_a_cpu_that_never_got_an_event) {
  auto snapshot = snapshot_of("pvh");
  kernel_row(snapshot, "HYP").counts = {5000, 0};
  const auto result = row(snapshot, "upcall");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(result.summary, "a callback vector is in use, but no event has arrived on CPU 1");
}

TEST(upcall_check, reports_a_vector_for_each_vcpu_only_if_the_kernel_shows_it) {
  auto snapshot = snapshot_of("pvh");
  snapshot.cpuid = {.has_upcall_vector = true};
  snapshot.hotplug_states = " 60: x86/xen/guest:prepare";
  EXPECT_EQ(row(snapshot, "upcall-vcpu").verdict, health::unknown);
  snapshot.hotplug_states = " 60: x86/xen/guest:prepare\n140: xen:starting";
  EXPECT_EQ(row(snapshot, "upcall-vcpu").verdict, health::pass);
  EXPECT_FALSE(has_row(snapshot_of("pv"), "upcall-vcpu"));
}

TEST(timer_check, passes_the_pv_timer_on_all_cpus) {
  const auto result = row(snapshot_of("pvh"), "timer");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_EQ(result.summary, "the PV timer drives all 2 CPUs");
  EXPECT_EQ(value_of(result, "/proc/interrupts"), "timer0 5173, timer1 4611");
  EXPECT_EQ(value_of(result, "/proc/timer_list CPU 0 set_next_event"), "xen_vcpuop_set_next_event");
}

TEST(timer_check, fails_when_one_cpu_has_another_device) {
  auto snapshot = snapshot_of("pvh");
  snapshot.clock.events[1].device = "lapic";
  const auto result = row(snapshot, "timer");
  EXPECT_EQ(result.verdict, health::fail);
  EXPECT_THAT(result.summary, HasSubstr("CPU 1 uses the timer 'lapic'"));
  EXPECT_EQ(row(snapshot_of("hvm-intx"), "timer").remedy,
            "the PV timer requires the callback vector: see row upcall");
}

TEST(timer_check, reports_the_timer_slop_of_old_kernels) {
  EXPECT_THAT(row(snapshot_of("pvh"), "timer-slop").summary,
              HasSubstr("timers shorter than 100 us"));
  auto snapshot = snapshot_of("pvh");
  snapshot.clock.timer_devices.clear();
  EXPECT_EQ(row(snapshot, "timer-slop").verdict, health::unknown);
}

TEST(clock_check, passes_xen_and_a_safe_tsc) {
  auto snapshot = snapshot_of("pv");
  EXPECT_EQ(row(snapshot, "clocksource").verdict, health::pass);
  snapshot.clock.clocksource = "tsc";
  snapshot.cpuid = {.host_tsc_is_safe = true};
  EXPECT_EQ(row(snapshot, "clocksource").verdict, health::pass);
  snapshot.cpuid->tsc_is_emulated = true;
  EXPECT_EQ(row(snapshot, "clocksource").verdict, health::warn);
  snapshot.cpuid.reset();
  EXPECT_EQ(row(snapshot, "clocksource").verdict, health::unknown);
}

TEST(clock_check, fails_an_emulated_clock_and_suggests_another) {
  auto snapshot = snapshot_of("hvm-vector");
  snapshot.clock.clocksource = "acpi_pm";
  const auto result = row(snapshot, "clocksource");
  EXPECT_EQ(result.verdict, health::fail);
  EXPECT_THAT(result.remedy, HasSubstr("echo xen > /sys/devices/system/clocksource/clocksource0/"));
}

TEST(clock_check, warns_of_a_clock_that_is_a_system_call_or_slow) {
  using std::chrono::nanoseconds;
  auto snapshot = snapshot_of("pv");
  snapshot.cost = {.read = nanoseconds(40), .system_call = nanoseconds(300)};
  snapshot.clock_in_vdso = true;
  EXPECT_EQ(row(snapshot, "clock-read").summary, "a clock read takes 40 ns in user space (vDSO)");
  EXPECT_EQ(row(snapshot, "clock-read").verdict, health::pass);
  // With an emulated TSC, both cost the same, so the verdict depends on clock_in_vdso alone.
  snapshot.cost = {.read = nanoseconds(290), .system_call = nanoseconds(300)};
  snapshot.clock_in_vdso = false;
  EXPECT_EQ(row(snapshot, "clock-read").verdict, health::warn);
  EXPECT_EQ(row(snapshot, "clock-read").summary,
            "a clock read takes 290 ns because it is a system call");
  snapshot.clock_in_vdso = true;
  EXPECT_EQ(row(snapshot, "clock-read").verdict, health::pass);
  snapshot.cost->read = nanoseconds(3000);
  EXPECT_EQ(row(snapshot, "clock-read").verdict, health::warn);
}

TEST(ipi_check, passes_pv_ipis_whose_rows_explain_all_counts) {
  const auto result = row(snapshot_of("pv"), "ipi");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_EQ(result.summary, "all IPIs since boot went through the hypervisor");
  EXPECT_EQ(value_of(result, "/proc/interrupts callfunc*, all CPUs"), "3269");
}

TEST(ipi_check, warns_of_native_ipis_unless_the_apic_is_virtual) {
  auto snapshot = snapshot_of("hvm-intx");
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::warn);
  snapshot.cpuid = {.x2apic_is_virtual = true};
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::pass);
}

TEST(ipi_check, does_not_call_an_apic_emulated_that_it_cannot_see) {
  auto snapshot = snapshot_of("hvm-intx");
  snapshot.channels.delivery = channels::upcall::vector;
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::unknown);
  snapshot.cpuid.emplace();
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::warn);
}

TEST(ipi_check, is_unknown_where_the_rows_contradict_each_other) {
  auto snapshot = snapshot_of("pv");
  kernel_row(snapshot, "CAL").counts = {10, 10};
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::unknown);
}

TEST(ipi_check, warns_when_counts_do_not_come_from_event_channels) {
  auto snapshot = snapshot_of("pv");
  kernel_row(snapshot, "CAL").counts = {9000, 9000};
  EXPECT_EQ(row(snapshot, "ipi").verdict, health::warn);
}

TEST(spread_check, warns_when_everything_may_only_go_to_one_cpu) {
  auto snapshot = snapshot_of("pv");
  EXPECT_EQ(row(snapshot, "spread").verdict, health::pass);
  for (auto& entry : snapshot.channels.channels)
    if (entry.can_move())
      entry.allowed = channels::sourced<std::vector<unsigned>>{{0}, channels::evidence::proc};
  const auto result = row(snapshot, "spread");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(result.summary, "all 9 movable event channels are restricted to CPU 0");
  EXPECT_EQ(value_of(result, "/proc/irq/*/smp_affinity_list, combined"), "0");
}

TEST(spread_check, warns_when_nearly_all_events_went_to_one_cpu) {
  auto snapshot = snapshot_of("pv");
  for (auto& entry : snapshot.channels.channels) {
    if (!entry.can_move()) continue;
    entry.counts = {10'000, 10};
    entry.effective = channels::sourced<std::vector<unsigned>>{{0}, channels::evidence::proc};
  }
  EXPECT_THAT(row(snapshot, "spread").summary, HasSubstr("99.9 % of the events"));
  EXPECT_EQ(row(snapshot, "spread").verdict, health::warn);
  EXPECT_EQ(row(snapshot_of("hvm-intx"), "spread").verdict, health::fail);
}

TEST(spread_check, ignores_the_few_events_of_a_guest_that_has_just_booted) {
  auto snapshot = snapshot_of("pv");
  for (auto& entry : snapshot.channels.channels)
    if (entry.can_move()) entry.counts = {1000, 1};
  EXPECT_EQ(row(snapshot, "spread").verdict, health::pass);
  EXPECT_THAT(row(snapshot, "spread").summary, HasSubstr("9009 events are too few to judge"));
}

TEST(spread_check, does_not_call_uneven_events_spread) {
  auto snapshot = snapshot_of("pv");
  for (auto& entry : snapshot.channels.channels)
    if (entry.can_move()) entry.counts = {8700, 1300};
  EXPECT_THAT(row(snapshot, "spread").summary,
              HasSubstr("are uneven: 87.0 % of them went to the busiest CPU, CPU 0"));
  for (auto& entry : snapshot.channels.channels)
    if (entry.can_move()) entry.counts = {5700, 4300};
  EXPECT_THAT(row(snapshot, "spread").summary, HasSubstr("are spread: 57.0 %"));
}

TEST(spread_check, does_not_compare_counters_that_may_have_wrapped) {
  auto snapshot = snapshot_of("pv");
  for (auto& entry : snapshot.channels.channels)
    if (entry.can_move()) entry.counts = {4'011'288'744, 10};
  EXPECT_EQ(row(snapshot, "spread").verdict, health::unknown);
}

TEST(spread_check, does_not_ask_to_spread_a_single_busy_channel) {
  auto snapshot = snapshot_of("pv");
  for (auto& entry : snapshot.channels.channels)
    if (entry.can_move()) entry.counts = {entry.name == "xenbus" ? 90'000U : 50U, 1};
  const auto result = row(snapshot, "spread");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_THAT(result.summary, HasSubstr("moving channels would change little"));
}

TEST(channel_check, finds_the_abi_in_the_log_or_else_in_the_rows) {
  auto snapshot = snapshot_of("pv");
  EXPECT_EQ(row(snapshot, "event-abi").verdict, health::pass);
  snapshot.log.lines = {"xen:events: Using 2-level ABI"};
  EXPECT_EQ(row(snapshot, "event-abi").verdict, health::pass)
      << "the guest's owner cannot change it";
  EXPECT_THAT(row(snapshot, "event-abi").remedy, HasSubstr("require Xen 4.4"));
  snapshot.command_line = "xen.fifo_events=0";
  const auto result = row(snapshot, "event-abi");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(result.remedy, "remove xen.fifo_events=0 from the kernel command line");
}

TEST(channel_check, is_unknown_without_log_and_rows) {
  auto snapshot = snapshot_of("pv");
  snapshot.is_capture = false;  // the remedy for a capture differs
  snapshot.channels.channels.clear();
  snapshot.log = {.problem = "/dev/kmsg may not be read: start as root"};
  EXPECT_EQ(row(snapshot, "event-abi").verdict, health::unknown);
  EXPECT_EQ(row(snapshot, "event-abi").remedy, "/dev/kmsg may not be read: start as root");
  snapshot.log = {};
  EXPECT_THAT(row(snapshot, "event-abi").remedy, HasSubstr("the start of the kernel log"));
  snapshot.log.is_complete = true;
  EXPECT_THAT(row(snapshot, "event-abi").remedy, HasSubstr("this log does not"))
      << "a complete log was not overwritten";
}

TEST(channel_check, warns_near_the_toolstacks_limit_and_fails_at_the_abis) {
  auto snapshot = snapshot_of("pv");
  EXPECT_EQ(row(snapshot, "event-channels").verdict, health::pass);
  snapshot.from.ports.value.emplace(900);
  EXPECT_EQ(row(snapshot, "event-channels").verdict, health::warn);
  EXPECT_EQ(value_of(row(snapshot, "event-channels"), "EVTCHNOP_status"), "900 open ports");
  snapshot.from.ports.value.emplace(4000);
  snapshot.log.lines = {"xen:events: Using 2-level ABI"};
  EXPECT_EQ(row(snapshot, "event-channels").verdict, health::fail);
}

TEST(grant_check, fails_when_no_page_can_be_shared) {
  auto snapshot = snapshot_of("pv");
  snapshot.grants = {.gntalloc_limit = 1024, .sees_all_processes = true};
  snapshot.grants.holders = {{.pid = 310, .command = "xenpv-disk", .shared = 512}};
  snapshot.grants.trial = share_trial{.worked = true};
  EXPECT_EQ(row(snapshot, "gntalloc").summary,
            "512 of 1024 pages are shared, and another page can be shared");
  EXPECT_EQ(row(snapshot, "gntalloc").verdict, health::pass);
  snapshot.grants.holders.front().shared = 1000;
  EXPECT_EQ(row(snapshot, "gntalloc").verdict, health::warn);
  snapshot.grants.trial = share_trial{.error = ENOSPC, .problem = "no space left on device"};
  const auto result = row(snapshot, "gntalloc");
  EXPECT_EQ(result.verdict, health::fail);
  EXPECT_EQ(result.summary,
            "the limit of 1024 pages is reached: no process can share another page");
  EXPECT_EQ(value_of(result, "/proc/*/maps of /dev/xen/gntalloc, pages"), "xenpv-disk (310) 1000");
}

TEST(grant_check, is_unknown_without_the_module_or_the_permission) {
  auto snapshot = snapshot_of("pv");
  snapshot.grants = {};
  EXPECT_EQ(row(snapshot, "gntalloc").remedy, "modprobe xen-gntalloc");
  snapshot.grants.gntalloc_limit = 1024;
  EXPECT_EQ(row(snapshot, "gntalloc").verdict, health::unknown);
}

TEST(steal_check, judges_the_worst_cpu_over_the_measured_interval) {
  auto snapshot = snapshot_of("pv");
  snapshot.cpu_times = {{.cpu = 0, .busy = 500, .idle = 500},
                        {.cpu = 1, .busy = 800, .idle = 200, .steal = 900}};
  const auto steal_in_interval = [&](std::uint64_t ticks) {
    auto later = snapshot.cpu_times;
    later[0].idle += 100;
    later[1].busy += 100 - ticks;
    later[1].steal += ticks;
    snapshot.later_times = {.times = later, .interval = std::chrono::seconds(1)};
    return row(snapshot, "steal");
  };
  EXPECT_EQ(steal_in_interval(10).verdict, health::warn);
  EXPECT_EQ(
      steal_in_interval(10).summary,
      "10.0 % of CPU 1's time was stolen during 1.0 s, the highest share of all CPUs; at most "
      "47.4 % since boot");
  EXPECT_EQ(steal_in_interval(40).verdict, health::fail);
  EXPECT_EQ(steal_in_interval(6).verdict, health::pass) << "a few ticks in a second are chance";
  EXPECT_EQ(steal_in_interval(0).verdict, health::pass) << "what happened long ago does not count";
}

TEST(steal_check, does_not_judge_now_by_an_average_since_boot) {
  auto snapshot = snapshot_of("pv");
  snapshot.cpu_times = {{.cpu = 0, .busy = 500, .idle = 500},
                        {.cpu = 1, .busy = 800, .idle = 100, .steal = 100}};
  EXPECT_EQ(row(snapshot, "steal").verdict, health::unknown);
  EXPECT_THAT(row(snapshot, "steal").summary, HasSubstr("10.0 % of CPU 1's time since boot"));
  snapshot.cpu_times[1].steal = 0;
  EXPECT_EQ(row(snapshot, "steal").verdict, health::pass);
}

TEST(steal_check, recognizes_a_counter_that_runs_backwards_or_too_fast) {
  auto snapshot = snapshot_of("pv");
  snapshot.cpu_times = {{.cpu = 0, .busy = 500, .idle = 500, .steal = 300}};
  snapshot.later_times = {.times = {{.cpu = 0, .busy = 550, .idle = 550, .steal = 20}},
                          .interval = std::chrono::seconds(1)};
  EXPECT_EQ(row(snapshot, "steal").verdict, health::warn);
  EXPECT_THAT(row(snapshot, "steal").summary, HasSubstr("ran backwards"));
  snapshot.later_times->times[0].steal = 90'000;
  EXPECT_THAT(row(snapshot, "steal").summary, HasSubstr("grew faster than time"));
}

TEST(migration_check, warns_of_processes_that_may_hold_dead_channels) {
  auto snapshot = snapshot_of("pvh");
  snapshot.cpuid = {.incarnation = 1};
  EXPECT_EQ(row(snapshot, "migration").summary, "never migrated or restored since it was built");
  snapshot.cpuid->incarnation = 3;
  snapshot.from.holders.clear();
  EXPECT_EQ(row(snapshot, "migration").verdict, health::pass);
  snapshot.from.holders = {{.pid = 7, .command = "vchan"}};
  const auto result = row(snapshot, "migration");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(result.summary, "migrated or restored 2 times, and 1 process has /dev/xen/evtchn open");
  EXPECT_EQ(value_of(result, "/proc/*/fd of /dev/xen/evtchn"), "vchan (7)");
}

TEST(device_check, names_missing_nodes_with_the_module_that_creates_them) {
  auto snapshot = snapshot_of("pv");
  snapshot.is_capture = false;
  for (auto& entry : snapshot.from.guest.devices)
    entry.present = entry.accessible = true;
  EXPECT_EQ(row(snapshot, "devices").verdict, health::pass);
  snapshot.from.guest.devices[0].accessible = false;
  EXPECT_EQ(row(snapshot, "devices").verdict, health::unknown);
  snapshot.from.guest.devices[1].present = false;
  EXPECT_EQ(row(snapshot, "devices").verdict, health::warn);
  EXPECT_EQ(row(snapshot, "devices").remedy, "modprobe xen-gntalloc");
}

TEST(back_end_check, warns_of_backends_that_wait_also_without_counters) {
  auto snapshot = snapshot_of("dom0");
  snapshot.devices = {{.is_backend = true, .name = "vif-3-0", .state = "Connected"},
                      {.is_backend = true, .name = "vif-4-0", .state = "InitWait"}};
  const auto result = row(snapshot, "back-ends");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(result.summary,
            "1 backend not connected: vif-4-0 waits for its frontend or hotplug script (InitWait)");
  EXPECT_EQ(value_of(result, "/sys/bus/xen-backend/devices/vif-4-0/state"), "InitWait");
  snapshot.devices[1].state = "Connected";
  EXPECT_EQ(row(snapshot, "back-ends").verdict, health::pass);
  snapshot.devices[1].state = "";
  EXPECT_EQ(row(snapshot, "back-ends").verdict, health::unknown);
}

TEST(back_end_check, does_not_judge_counters_that_have_wrapped) {
  auto snapshot = snapshot_of("dom0");
  snapshot.devices = {{.is_backend = true,
                       .name = "vif-3-0",
                       .state = "Connected",
                       .counters = storm_counters{.events = 20, .spurious_events = 500}}};
  EXPECT_EQ(row(snapshot, "back-ends").verdict, health::unknown);
}

TEST(back_end_check, warns_of_spurious_events) {
  auto snapshot = snapshot_of("dom0");
  snapshot.devices = {
      {.is_backend = true, .name = "vif-3-0", .counters = storm_counters{.events = 1000}}};
  EXPECT_EQ(row(snapshot, "back-ends").verdict, health::pass);
  snapshot.devices[0].counters->spurious_events = 500;
  EXPECT_EQ(row(snapshot, "back-ends").verdict, health::warn);
}

TEST(check_results, have_the_worst_verdict_of_all) {
  EXPECT_EQ(worst_of({}), health::pass);
  EXPECT_EQ(worst_of({{.verdict = health::unknown}, {.verdict = health::pass}}), health::unknown);
  EXPECT_EQ(worst_of({{.verdict = health::fail}, {.verdict = health::warn}}), health::fail);
}

}  // namespace
}  // namespace xenpv::doctor
