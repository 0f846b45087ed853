// The doctor's findings on captured guests, and on such guests with something broken.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "unit/diag/captured_tree.hpp"
#include "unit/xen/fake_root.hpp"
#include "xenpv/diag/examination.hpp"

namespace xenpv::diag {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

examination examined(const std::string& capture) {
  return examine(test::captured_tree(capture).place());
}

finding row(const examination& of, std::string_view id) {
  for (const auto& each : judge(of))
    if (each.id == id) return each;
  ADD_FAILURE() << "no row " << id;
  return {};
}

bool has_row(const examination& of, std::string_view id) {
  for (const auto& each : judge(of))
    if (each.id == id) return true;
  return false;
}

std::string value_of(const finding& row, std::string_view source) {
  for (const auto& each : row.evidence)
    if (each.source == source) return each.value;
  return "(no such evidence)";
}

interrupt_row& kernel_row(examination& of, std::string_view label) {
  for (auto& each : of.from.interrupts.value->rows)
    if (each.label == label) return each;
  throw std::runtime_error("no row " + std::string(label));
}

TEST(checks, every_finding_quotes_evidence_and_every_bad_one_has_a_cure) {
  for (const auto* name :
       {"pv", "pv-doctor", "pvh", "hvm-vector", "hvm-intx", "dom0", "cpus-64", "old-kernel"})
    for (const auto& each : judge(examined(name))) {
      EXPECT_THAT(each.evidence, Not(IsEmpty())) << name << " " << each.id;
      EXPECT_THAT(each.summary, Not(IsEmpty())) << name << " " << each.id;
      EXPECT_TRUE(each.verdict == health::pass || !each.cure.empty()) << name << " " << each.id;
    }
}

TEST(checks, of_a_guest_on_real_xen_are_what_it_said_there) {
  const auto of = examined("pv-doctor");
  EXPECT_EQ(
      row(of, "disk-xvda").summary,
      "xvda: persistent grants, 2 of 2 queues, ring order 0 of 4, 32 segments a request, flush");
  EXPECT_EQ(row(of, "disk-xvdb").summary,
            "xvdb: persistent grants, 2 of 2 queues, ring order 0 of 4, 32 segments a request, no "
            "flush: the backend says it has no write cache");
  EXPECT_EQ(row(of, "event-abi").evidence.front(),
            (quote{"kernel log", "xen:events: Using FIFO-based ABI"}));
  EXPECT_EQ(row(of, "gntalloc").verdict, health::pass);
  EXPECT_EQ(row(of, "migration").summary, "never migrated or restored since it was built");
  EXPECT_EQ(row(of, "clock-read").verdict, health::warn);
  EXPECT_EQ(value_of(row(of, "clocksource"), "CPUID base+3 (time)"),
            "TSC emulated, host TSC not safe, tsc_mode 0");
}

TEST(checks, say_which_kind_of_domain_it_is) {
  EXPECT_EQ(row(examined("pv"), "domain").summary,
            "PV guest on Xen 4.17.7, Linux 6.1.0-56-amd64, 2 CPUs");
  EXPECT_EQ(row(examined("dom0"), "domain").summary,
            "the control domain (dom0), PV on Xen 4.17.7, Linux 6.1.0-56-amd64, 2 CPUs");
  EXPECT_EQ(row(examined("hvm-intx"), "domain").verdict, health::pass);
}

TEST(checks, off_xen_say_so_and_look_only_at_what_any_machine_has) {
  auto of = examined("pv");
  of.from.guest.type = xen::guest_type::none;
  of.hypervisor_elsewhere = "KVM";
  of.clock.clocksource = "kvm-clock";
  const auto found = judge(of);
  EXPECT_EQ(found.front().verdict, health::unknown);
  EXPECT_EQ(found.front().summary, "no Xen domain: this runs on KVM");
  EXPECT_EQ(row(of, "clocksource").verdict, health::pass);
  EXPECT_FALSE(has_row(of, "upcall"));
  EXPECT_FALSE(has_row(of, "devices"));
}

TEST(upcall_check, passes_the_pv_callback_and_a_vector_on_each_cpu) {
  EXPECT_EQ(row(examined("pv"), "upcall").verdict, health::pass);
  const auto vector = row(examined("hvm-vector"), "upcall");
  EXPECT_EQ(vector.verdict, health::pass);
  EXPECT_EQ(value_of(vector, "/proc/interrupts HYP"), "4150 5065");
}

TEST(upcall_check, fails_the_pci_interrupt_and_names_the_word_that_caused_it) {
  const auto found = row(examined("hvm-intx"), "upcall");
  EXPECT_EQ(found.verdict, health::fail);
  EXPECT_EQ(value_of(found, "/proc/interrupts xen-platform-pci"), "536 0");
  EXPECT_EQ(found.cure, "take xen_no_vector_callback off the kernel's command line and boot again");
}

TEST(upcall_check, blames_the_hypervisor_where_nobody_switched_it_off) {
  auto of = examined("hvm-intx");
  of.command_line = "console=hvc0";
  EXPECT_THAT(row(of, "upcall").cure, HasSubstr("the hypervisor offers no callback vector"));
}

TEST(upcall_check, warns_of_a_cpu_that_never_got_an_event) {
  auto of = examined("pvh");
  kernel_row(of, "HYP").counts = {5000, 0};
  const auto found = row(of, "upcall");
  EXPECT_EQ(found.verdict, health::warn);
  EXPECT_EQ(found.summary, "a callback vector is in use, but no event ever came to CPU 1");
}

TEST(upcall_check, tells_a_vector_of_each_vcpu_only_where_the_kernel_shows_it) {
  auto of = examined("pvh");
  of.cpuid = {.has_upcall_vector = true};
  of.hotplug_states = " 60: x86/xen/guest:prepare";
  EXPECT_EQ(row(of, "upcall-vcpu").verdict, health::unknown);
  of.hotplug_states = " 60: x86/xen/guest:prepare\n140: xen:starting";
  EXPECT_EQ(row(of, "upcall-vcpu").verdict, health::pass);
  EXPECT_FALSE(has_row(examined("pv"), "upcall-vcpu"));
}

TEST(timer_check, passes_the_pv_timer_on_all_cpus) {
  const auto found = row(examined("pvh"), "timer");
  EXPECT_EQ(found.verdict, health::pass);
  EXPECT_EQ(found.summary, "the PV timer drives all 2 CPUs");
  EXPECT_EQ(value_of(found, "/proc/interrupts"), "timer0 5173, timer1 4611");
  EXPECT_EQ(value_of(found, "/proc/timer_list CPU 0 set_next_event"), "xen_vcpuop_set_next_event");
}

TEST(timer_check, fails_when_one_cpu_has_another_device) {
  auto of = examined("pvh");
  of.clock.events[1].device = "lapic";
  const auto found = row(of, "timer");
  EXPECT_EQ(found.verdict, health::fail);
  EXPECT_THAT(found.summary, HasSubstr("CPUs 1 run on the timer 'lapic'"));
  EXPECT_EQ(row(examined("hvm-intx"), "timer").cure,
            "the PV timer needs the callback vector: see upcall");
}

TEST(timer_check, names_the_slop_of_old_kernels) {
  EXPECT_THAT(row(examined("pvh"), "timer-slop").summary, HasSubstr("timers of less than 100 us"));
  auto of = examined("pvh");
  of.clock.timer_devices.clear();
  EXPECT_EQ(row(of, "timer-slop").verdict, health::unknown);
}

TEST(clock_check, passes_xen_and_a_safe_tsc) {
  auto of = examined("pv");
  EXPECT_EQ(row(of, "clocksource").verdict, health::pass);
  of.clock.clocksource = "tsc";
  of.cpuid = {.host_tsc_is_safe = true};
  EXPECT_EQ(row(of, "clocksource").verdict, health::pass);
  of.cpuid->tsc_is_emulated = true;
  EXPECT_EQ(row(of, "clocksource").verdict, health::warn);
  of.cpuid.reset();
  EXPECT_EQ(row(of, "clocksource").verdict, health::unknown);
}

TEST(clock_check, fails_an_emulated_device_and_says_how_to_leave_it) {
  auto of = examined("hvm-vector");
  of.clock.clocksource = "acpi_pm";
  const auto found = row(of, "clocksource");
  EXPECT_EQ(found.verdict, health::fail);
  EXPECT_THAT(found.cure, HasSubstr("echo xen > /sys/devices/system/clocksource/clocksource0/"));
}

TEST(clock_check, warns_of_a_clock_that_is_a_system_call_or_dear) {
  using std::chrono::nanoseconds;
  auto of = examined("pv");
  of.cost = {.read = nanoseconds(40), .system_call = nanoseconds(300)};
  of.clock_in_vdso = true;
  EXPECT_EQ(row(of, "clock-read").summary, "a look at the clock takes 40 ns in user space (vDSO)");
  EXPECT_EQ(row(of, "clock-read").verdict, health::pass);
  // Where the TSC is emulated both cost the same: only the proof tells.
  of.cost = {.read = nanoseconds(290), .system_call = nanoseconds(300)};
  of.clock_in_vdso = false;
  EXPECT_EQ(row(of, "clock-read").verdict, health::warn);
  EXPECT_EQ(row(of, "clock-read").summary,
            "a look at the clock takes 290 ns, because it is a system call");
  of.clock_in_vdso = true;
  EXPECT_EQ(row(of, "clock-read").verdict, health::pass);
  of.cost->read = nanoseconds(3000);
  EXPECT_EQ(row(of, "clock-read").verdict, health::warn);
}

TEST(ipi_check, passes_pv_ipis_whose_rows_explain_all_counts) {
  const auto found = row(examined("pv"), "ipi");
  EXPECT_EQ(found.verdict, health::pass);
  EXPECT_EQ(found.summary, "IPIs go through the hypervisor: all 3381 since boot");
  EXPECT_EQ(value_of(found, "/proc/interrupts RES, CAL"), "112, 3269");
}

TEST(ipi_check, warns_of_native_ipis_unless_the_apic_is_virtual) {
  auto of = examined("hvm-intx");
  EXPECT_EQ(row(of, "ipi").verdict, health::warn);
  of.cpuid = {.x2apic_is_virtual = true};
  EXPECT_EQ(row(of, "ipi").verdict, health::pass);
}

TEST(ipi_check, warns_when_counts_do_not_come_from_event_channels) {
  auto of = examined("pv");
  kernel_row(of, "CAL").counts = {9000, 9000};
  EXPECT_EQ(row(of, "ipi").verdict, health::warn);
}

TEST(spread_check, warns_when_everything_may_only_go_to_one_cpu) {
  auto of = examined("pv");
  EXPECT_EQ(row(of, "spread").verdict, health::pass);
  for (auto& each : of.channels.channels)
    if (each.can_move()) each.allowed = known<std::vector<unsigned>>{{0}, evidence::proc};
  const auto found = row(of, "spread");
  EXPECT_EQ(found.verdict, health::warn);
  EXPECT_EQ(found.summary, "all 9 event channels that could move may only go to CPU 0");
  EXPECT_EQ(value_of(found, "/proc/irq/*/smp_affinity_list, together"), "0");
}

TEST(spread_check, warns_when_nearly_all_events_went_to_one_cpu) {
  auto of = examined("pv");
  for (auto& each : of.channels.channels) {
    if (!each.can_move()) continue;
    each.counts = {10'000, 10};
    each.effective = known<std::vector<unsigned>>{{0}, evidence::proc};
  }
  EXPECT_THAT(row(of, "spread").summary, HasSubstr("99.9 % of the events"));
  EXPECT_EQ(row(of, "spread").verdict, health::warn);
  EXPECT_EQ(row(examined("hvm-intx"), "spread").verdict, health::fail);
}

TEST(spread_check, minds_no_few_events_of_a_guest_that_has_just_booted) {
  auto of = examined("pv");
  for (auto& each : of.channels.channels)
    if (each.can_move()) each.counts = {1000, 1};
  EXPECT_EQ(row(of, "spread").verdict, health::pass);
  EXPECT_THAT(row(of, "spread").summary, HasSubstr("9009 events are too few to judge"));
}

TEST(spread_check, does_not_ask_to_spread_a_single_busy_channel) {
  auto of = examined("pv");
  for (auto& each : of.channels.channels)
    if (each.can_move()) each.counts = {each.name == "xenbus" ? 90'000U : 50U, 1};
  const auto found = row(of, "spread");
  EXPECT_EQ(found.verdict, health::pass);
  EXPECT_THAT(found.summary, HasSubstr("moving channels would not change much"));
}

TEST(channel_check, tells_the_abi_from_the_log_and_else_from_the_rows) {
  auto of = examined("pv");
  EXPECT_EQ(row(of, "event-abi").verdict, health::pass);
  of.log.lines = {"xen:events: Using 2-level ABI"};
  of.command_line = "xen.fifo_events=0";
  const auto found = row(of, "event-abi");
  EXPECT_EQ(found.verdict, health::warn);
  EXPECT_EQ(found.cure, "take xen.fifo_events=0 off the kernel's command line");
}

TEST(channel_check, is_unknown_where_neither_log_nor_rows_tell) {
  auto of = examined("pv");
  of.channels.abi.reset();
  of.log = {.problem = "/dev/kmsg may not be read: start as root"};
  EXPECT_EQ(row(of, "event-abi").verdict, health::unknown);
  EXPECT_EQ(row(of, "event-abi").cure, "/dev/kmsg may not be read: start as root");
  of.log = {};
  EXPECT_THAT(row(of, "event-abi").cure, HasSubstr("has been overwritten"));
}

TEST(channel_check, warns_near_the_toolstacks_limit_and_fails_at_the_abis) {
  auto of = examined("pv");
  EXPECT_EQ(row(of, "event-channels").verdict, health::pass);
  of.from.ports.value.emplace(900);
  EXPECT_EQ(row(of, "event-channels").verdict, health::warn);
  EXPECT_EQ(value_of(row(of, "event-channels"), "EVTCHNOP_status"), "900 open ports");
  of.from.ports.value.emplace(4000);
  of.channels.abi = event_abi::two_level;
  EXPECT_EQ(row(of, "event-channels").verdict, health::fail);
}

TEST(grant_check, fails_when_no_page_can_be_shared) {
  auto of = examined("pv");
  of.grants = {.gntalloc_limit = 1024, .sees_all_processes = true};
  of.grants.holders = {{.pid = 310, .command = "xenpv-disk", .shared = 512}};
  of.grants.trial = share_trial{.worked = true};
  EXPECT_EQ(row(of, "gntalloc").summary, "512 of 1024 pages are shared, and another can be");
  EXPECT_EQ(row(of, "gntalloc").verdict, health::pass);
  of.grants.holders.front().shared = 1000;
  EXPECT_EQ(row(of, "gntalloc").verdict, health::warn);
  of.grants.trial = share_trial{.error = ENOSPC, .problem = "no space left on device"};
  const auto found = row(of, "gntalloc");
  EXPECT_EQ(found.verdict, health::fail);
  EXPECT_EQ(found.summary, "the limit of 1024 pages is used up: no process can share another page");
  EXPECT_EQ(value_of(found, "/proc/*/maps of /dev/xen/gntalloc, pages"), "xenpv-disk (310) 1000");
}

TEST(grant_check, is_unknown_without_the_module_or_the_right) {
  auto of = examined("pv");
  of.grants = {};
  EXPECT_EQ(row(of, "gntalloc").cure, "modprobe xen-gntalloc");
  of.grants.gntalloc_limit = 1024;
  EXPECT_EQ(row(of, "gntalloc").verdict, health::unknown);
}

disk_facts healthy_disk() {
  return {.name = "xvdb",
          .path = "device/vbd/51728",
          .backend = "/local/domain/0/backend/vbd/1/51728",
          .kernel_drives = true,
          .front = {{"state", "4"}, {"feature-persistent", "1"}, {"multi-queue-num-queues", "2"}},
          .back = {{"feature-persistent", "1"},
                   {"multi-queue-max-queues", "2"},
                   {"max-ring-page-order", "4"},
                   {"feature-max-indirect-segments", "256"},
                   {"feature-flush-cache", "1"}},
          .max_segments = 32,
          .hardware_queues = 2,
          .write_cache = "write back"};
}

examination with_disk(const disk_facts& disk) {
  auto of = examined("pv");
  of.disks = {disk};
  return of;
}

TEST(disk_check, passes_what_both_ends_agreed_on_and_says_what_more_there_could_be) {
  const auto found = row(with_disk(healthy_disk()), "disk-xvdb");
  EXPECT_EQ(found.verdict, health::pass);
  EXPECT_EQ(
      found.summary,
      "xvdb: persistent grants, 2 of 2 queues, ring order 0 of 4, 32 segments a request, flush");
  EXPECT_EQ(
      found.cure,
      "more would be: rings of 16 pages for deep queues (xen_blkfront.max_ring_page_order=4), "
      "256 segments a request (xen_blkfront.max_indirect_segments=256)");
}

TEST(disk_check, warns_of_a_feature_that_both_have_and_that_is_off) {
  auto disk = healthy_disk();
  disk.front["feature-persistent"] = "0";
  EXPECT_THAT(row(with_disk(disk), "disk-xvdb").summary, HasSubstr("persistent grants are off"));
  disk = healthy_disk();
  disk.front.erase("multi-queue-num-queues");
  EXPECT_THAT(row(with_disk(disk), "disk-xvdb").summary,
              HasSubstr("2 queues would be possible at both ends"));
  disk = healthy_disk();
  disk.max_segments = 11;
  EXPECT_THAT(row(with_disk(disk), "disk-xvdb").summary, HasSubstr("indirect requests are off"));
  disk = healthy_disk();
  disk.write_cache = "write through";
  EXPECT_EQ(row(with_disk(disk), "disk-xvdb").verdict, health::warn);
  auto of = with_disk(healthy_disk());
  of.blkfront.max_ring_page_order = 4;
  EXPECT_THAT(row(of, "disk-xvdb").summary, HasSubstr("ring order 4 would be possible"));
}

TEST(disk_check, does_not_ask_more_of_a_plain_backend) {
  auto disk = healthy_disk();
  disk.back = {{"feature-flush-cache", "0"}};
  disk.front = {{"state", "4"}, {"feature-persistent", "1"}};
  disk.max_segments = 11;
  disk.write_cache = "write through";
  const auto found = row(with_disk(disk), "disk-xvdb");
  EXPECT_EQ(found.verdict, health::pass);
  EXPECT_THAT(found.summary, HasSubstr("no flush: the backend says it has no write cache"));
}

TEST(disk_check, warns_of_a_backend_that_offers_no_way_to_make_writes_durable) {
  auto disk = healthy_disk();
  disk.back.erase("feature-flush-cache");
  disk.write_cache = "write through";
  const auto found = row(with_disk(disk), "flush-xvdb");
  EXPECT_EQ(found.verdict, health::warn);
  EXPECT_THAT(found.summary, HasSubstr("xvdb: the backend offers neither flush nor barrier"));
  EXPECT_EQ(value_of(found, "/local/domain/0/backend/vbd/1/51728/feature-barrier"), "absent");
  // Also of a disk that a process drives.
  disk.kernel_drives = false;
  disk.write_cache = "";
  EXPECT_EQ(row(with_disk(disk), "flush-xvdb").verdict, health::warn);
}

TEST(disk_check, does_not_warn_of_missing_flush_where_none_is_needed_or_nothing_is_known) {
  const auto warns = [](const disk_facts& disk) { return has_row(with_disk(disk), "flush-xvdb"); };
  auto disk = healthy_disk();
  EXPECT_FALSE(warns(disk));
  disk.back["feature-flush-cache"] = "0";
  EXPECT_FALSE(warns(disk)) << "it says that it has no write cache";
  disk.back.erase("feature-flush-cache");
  EXPECT_TRUE(warns(disk));
  disk.back["mode"] = "r";
  EXPECT_FALSE(warns(disk));
  disk.back["mode"] = "w";
  disk.front["state"] = "1";
  EXPECT_FALSE(warns(disk)) << "most backends say so once connected";
  disk.front["state"] = "4";
  disk.back.clear();
  EXPECT_FALSE(warns(disk));
}

TEST(disk_facts, go_by_the_guests_names) {
  xen::test::fake_root tree;
  tree.with("/sys/bus/xen/devices/vbd-2048/block/xvde/dev", "202:64\n")
      .with("/sys/bus/xen/devices/vbd-2048/driver/module")
      .with("/sys/block/xvde/queue/max_segments", "32\n")
      .with("/sys/block/xvda/queue/max_segments", "11\n");
  const store_nodes nodes = {{"device/vbd/768/state", "4"},
                             {"device/vbd/2048/state", "4"},
                             {"device/vbd/51728/state", "4"},
                             {"device/vbd/832/state", "4"}};
  std::vector<std::string> names;
  const auto disks = make_disk_facts(tree.root(), nodes);
  for (const auto& each : disks)
    names.push_back(each.name);
  EXPECT_THAT(names, testing::ElementsAre("xvda", "hdb", "xvde", "xvdb"));
  EXPECT_EQ(disks[0].max_segments, std::nullopt) << "another disk's, or nobody's";
  EXPECT_EQ(disks[2].max_segments, 32U);
}

TEST(disk_check, fails_a_disk_that_the_kernel_holds_and_that_is_not_connected) {
  auto disk = healthy_disk();
  disk.front["state"] = "1";
  EXPECT_EQ(row(with_disk(disk), "disk-xvdb").verdict, health::fail);
  disk.kernel_drives = false;
  EXPECT_EQ(row(with_disk(disk), "disk-xvdb").verdict, health::pass);
}

TEST(disk_check, is_unknown_where_xenstore_cannot_be_read) {
  auto disk = healthy_disk();
  disk.front.clear();
  auto of = with_disk(disk);
  of.from.store = {.problem = "permission denied"};
  EXPECT_EQ(row(of, "disk-xvdb").verdict, health::unknown);
  EXPECT_EQ(row(of, "disk-xvdb").cure, "permission denied");
}

TEST(steal_check, judges_the_worst_cpu) {
  auto of = examined("pv");
  of.cpu_times = {{.cpu = 0, .busy = 500, .idle = 500},
                  {.cpu = 1, .busy = 800, .idle = 100, .steal = 100}};
  const auto found = row(of, "steal");
  EXPECT_EQ(found.verdict, health::warn);
  EXPECT_EQ(found.summary, "since boot 10.0 % of CPU 1's time was stolen, the most of all");
  of.cpu_times[1].steal = 0;
  EXPECT_EQ(row(of, "steal").verdict, health::pass);
  of.cpu_times[1].steal = 900;
  EXPECT_EQ(row(of, "steal").verdict, health::fail);
}

TEST(migration_check, warns_of_processes_that_may_hold_dead_channels) {
  auto of = examined("pvh");
  of.cpuid = {.incarnation = 1};
  EXPECT_EQ(row(of, "migration").summary, "never migrated or restored since it was built");
  of.cpuid->incarnation = 3;
  of.from.holders.clear();
  EXPECT_EQ(row(of, "migration").verdict, health::pass);
  of.from.holders = {{.pid = 7, .command = "vchan"}};
  const auto found = row(of, "migration");
  EXPECT_EQ(found.verdict, health::warn);
  EXPECT_EQ(found.summary, "migrated or restored 2 times, and 1 processes hold /dev/xen/evtchn");
  EXPECT_EQ(value_of(found, "/proc/*/fd of /dev/xen/evtchn"), "vchan (7)");
}

TEST(device_check, names_missing_nodes_with_what_brings_them) {
  auto of = examined("pv");
  of.is_capture = false;
  for (auto& each : of.from.guest.devices)
    each.present = each.accessible = true;
  EXPECT_EQ(row(of, "devices").verdict, health::pass);
  of.from.guest.devices[0].accessible = false;
  EXPECT_EQ(row(of, "devices").verdict, health::unknown);
  of.from.guest.devices[1].present = false;
  EXPECT_EQ(row(of, "devices").verdict, health::warn);
  EXPECT_EQ(row(of, "devices").cure, "modprobe xen-gntalloc");
}

TEST(back_end_check, warns_of_events_that_announce_nothing) {
  auto of = examined("dom0");
  of.devices = {
      {.is_backend = true, .name = "vif-3-0", .counters = storm_counters{.events = 1000}}};
  EXPECT_EQ(row(of, "back-ends").verdict, health::pass);
  of.devices[0].counters->spurious_events = 500;
  EXPECT_EQ(row(of, "back-ends").verdict, health::warn);
}

TEST(findings, the_worst_counts) {
  EXPECT_EQ(worst_of({}), health::pass);
  EXPECT_EQ(worst_of({{.verdict = health::unknown}, {.verdict = health::pass}}), health::unknown);
  EXPECT_EQ(worst_of({{.verdict = health::fail}, {.verdict = health::warn}}), health::fail);
}

}  // namespace
}  // namespace xenpv::diag
