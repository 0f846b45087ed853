// Minimal inputs for which the doctor once gave a wrong verdict, and hostile inputs that took
// minutes. Each test failed before its bug was fixed.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>

#include "channels/captured.hpp"
#include "doctor/log_prefix.hpp"
#include "unit/doctor/checks_rig.hpp"
#include "unit/xen/fake_root.hpp"

namespace xenpv::doctor {
namespace {

using test::has_row;
using test::row;
using test::snapshot_of;
using test::value_of;
using test::with_log;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

xen::guest_type type_of(const std::vector<std::string>& lines) {
  return with_log(lines).from.guest.type;
}

TEST(guest_identity, does_not_take_a_name_that_ends_in_xen_for_xenlinux) {
  EXPECT_EQ(type_of({"Linux version 2.6.18-128.el5xen (gcc)"}), xen::guest_type::pv);
  EXPECT_EQ(type_of({"Linux version 3.16.7-53-xen (gcc)"}), xen::guest_type::pv);
  EXPECT_EQ(type_of({"Linux version 5.15.0-xen (gcc)"}), xen::guest_type::none)
      << "XenLinux ended before 4.5";
  EXPECT_EQ(type_of({"Linux version 3.16.0-xen (gcc)", "Hypervisor detected: KVM"}),
            xen::guest_type::none);
  EXPECT_EQ(type_of({"Linux version 3.16.0-xen (gcc)",
                     "Booting paravirtualized kernel on bare hardware"}),
            xen::guest_type::none);
  EXPECT_EQ(type_of({"Linux version 2.6.16-xenU (gcc)", "Hypervisor detected: VMware"}),
            xen::guest_type::none);
  EXPECT_NE(type_of({"Booting Linux on physical CPU 0x0", "Linux version 3.16.0-xen (gcc)",
                     "Xen 4.4 support found"}),
            xen::guest_type::pv)
      << "ARM";
}

TEST(guest_identity, does_not_take_the_name_for_xenlinux_if_the_interrupts_contradict_it) {
  xen::test::fake_root tree;
  tree.with("/proc/version", "Linux version 3.16.0-xen\n")
      .with("/proc/interrupts", "           CPU0\n  0:         36   IO-APIC   2-edge      timer\n");
  EXPECT_FALSE(take_snapshot({.root = tree.root(), .is_capture = true}).on_xen());
}

TEST(guest_identity, does_not_take_a_domain_with_pv_disks_for_a_guest) {
  EXPECT_EQ(with_log({"Booting paravirtualized kernel on Xen",
                      "blkfront: xvda: flush diskcache: enabled;"})
                .identity.role,
            domain_role::unknown)
      << "the toolstack attaches disks to domain 0 for pygrub";
  EXPECT_EQ(snapshot_of("field-ec2-1cpu").identity.role, domain_role::unknown);
}

TEST(disk_check, finds_a_disk_without_flush_in_the_log_of_any_kernel) {
  for (const auto* text : {"barriers disabled", "barrier: disabled", "barrier or flush: disabled",
                           "barrier or flush: disabled; persistent grants: enabled;"}) {
    const auto result = row(with_log({fmt::format("blkfront: xvda: {}", text)}), "disk-xvda");
    EXPECT_EQ(result.verdict, health::unknown) << text;
    EXPECT_THAT(result.remedy, HasSubstr("read-only")) << text;
  }
  EXPECT_EQ(row(with_log({"blkfront: xvda: barriers enabled (tag)"}), "disk-xvda").verdict,
            health::pass);
  EXPECT_EQ(
      row(with_log({"blkfront: xvda: flush diskcache: enabled; persistent grants: disabled;"}),
          "disk-xvda")
          .verdict,
      health::pass);
}

const std::string missing_address = "vif vif-0: 2 parsing device/vif/0/mac";

guest_snapshot with_frontend(std::vector<std::string> lines, const std::string& state) {
  auto out = with_log(std::move(lines));
  out.frontends = make_frontend_facts({}, {{"device/vif/0/state", state}});
  return out;
}

TEST(log_check, of_devices_does_not_fail_a_network_interface_that_is_connected_now) {
  const auto result = row(with_frontend({missing_address}, "4"), "log-xenbus");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_EQ(result.summary,
            "a network interface had no MAC address, but is connected or detached now: vif-0 (2 "
            "parsing device/vif/0/mac)");
  EXPECT_EQ(row(with_frontend({missing_address}, "6"), "log-xenbus").verdict, health::fail);
  EXPECT_EQ(
      row(with_frontend({"vif vif-7: 2 parsing device/vif/7/mac"}, "4"), "log-xenbus").verdict,
      health::warn)
      << "the device was detached";
}

TEST(log_check, of_devices_does_not_warn_of_an_old_error_of_a_connected_device) {
  const std::string line = "vif vif-0: 28 xenbus_dev_probe on device/vif/0";
  const auto result = row(with_frontend({line}, "4"), "log-xenbus");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_THAT(result.summary, HasSubstr("are connected now"));
  EXPECT_EQ(row(with_frontend({line}, "6"), "log-xenbus").verdict, health::warn);
  EXPECT_EQ(row(with_log({line}), "log-xenbus").verdict, health::warn);
  EXPECT_EQ(row(with_frontend({line, "vif vif-1: 2 reading x"}, "4"), "log-xenbus").verdict,
            health::warn);
  auto disk = with_log({"vbd vbd-51712: 28 xenbus_dev_probe on device/vbd/51712"});
  disk.disks = {{.name = "xvda", .path = "device/vbd/51712", .front = {{"state", "4"}}}};
  EXPECT_EQ(row(disk, "log-xenbus").verdict, health::pass);
}

TEST(log_check, of_devices_does_not_blame_this_domain_for_a_missing_address_of_its_guest) {
  const auto result = row(with_log({"vif vif-76-0: 2 parsing backend/vif/76/0/mac"}), "log-xenbus");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_THAT(result.summary, HasSubstr("backends of this domain reported errors: vif-76-0"));
  EXPECT_THAT(result.remedy, AllOf(HasSubstr("back-ends"), Not(HasSubstr("mac="))));
}

/// A network device of this guest in state `front`, whose backend is in state `back`.
guest_snapshot with_ends(const std::string& front, const std::string& back,
                         const std::string& type = "vif") {
  auto out = with_log({});
  out.from.guest.type = xen::guest_type::pvh;
  const auto backend = fmt::format("/local/domain/0/backend/{}/9/0", type);
  out.frontends =
      make_frontend_facts({}, {{fmt::format("device/{}/0/state", type), front},
                               {fmt::format("device/{}/0/backend", type), backend},
                               {fmt::format("error/device/{}/0/error", type), "2 an old error"},
                               {backend + "/state", back}});
  return out;
}

TEST(frontend_check, fails_a_connected_interface_whose_backend_waits_for_its_hotplug_script) {
  const auto snapshot = with_ends("4", "2");
  const auto result = row(snapshot, "device-vif-0");
  EXPECT_EQ(result.verdict, health::fail);
  EXPECT_EQ(result.summary,
            "vif-0 is Connected, but its backend is InitWait: the network interface does not work");
  EXPECT_EQ(value_of(result, "/local/domain/0/backend/vif/9/0/state"), "InitWait");
  EXPECT_THAT(result.remedy, AllOf(HasSubstr("hotplug script failed or has not finished"),
                                   HasSubstr("xl network-list"), HasSubstr("/var/log/xen"),
                                   HasSubstr("hotplug-status")));
  EXPECT_THAT(result.remedy, HasSubstr("still be connecting")) << "a capture is read once";
  for (const auto* waiting : {"1", "3"})
    EXPECT_THAT(row(with_ends("4", waiting), "device-vif-0").remedy, HasSubstr("hotplug-status"));
}

TEST(frontend_check, fails_a_connected_device_whose_backend_is_closed) {
  for (const auto* gone : {"5", "6"}) {
    const auto result = row(with_ends("4", gone), "device-vif-0");
    EXPECT_EQ(result.verdict, health::fail) << gone;
    EXPECT_THAT(result.remedy, HasSubstr("check that its backend domain runs")) << gone;
  }
  const auto other = row(with_ends("4", "2", "9pfs"), "device-9pfs-0");
  EXPECT_EQ(other.verdict, health::fail);
  EXPECT_THAT(other.remedy, Not(HasSubstr("xl network-list")));
  EXPECT_EQ(row(with_ends("4", "1", "vfb"), "device-vfb-0").verdict, health::warn)
      << "a guest works without it";
}

TEST(frontend_check, passes_a_connected_device_whose_backend_works_or_is_unknown) {
  for (const auto* state : {"4", "7", "8", "0", ""})
    EXPECT_EQ(row(with_ends("4", state), "device-vif-0").verdict, health::pass) << state;
}

TEST(frontend_check, advises_no_second_look_at_a_device_that_two_readings_show_stuck) {
  const auto earlier = with_ends("4", "2");
  auto snapshot = with_ends("4", "2");
  mark_stuck(earlier.frontends, snapshot.frontends);
  EXPECT_EQ(row(snapshot, "device-vif-0").verdict, health::fail);
  EXPECT_THAT(row(snapshot, "device-vif-0").remedy, Not(HasSubstr("still be connecting")));
  // It was not connected yet at the first reading.
  mark_stuck(with_ends("1", "2").frontends, snapshot.frontends);
  EXPECT_THAT(row(snapshot, "device-vif-0").remedy, HasSubstr("still be connecting"));
  auto connected = with_ends("4", "4");
  mark_stuck(earlier.frontends, connected.frontends);
  EXPECT_EQ(row(connected, "device-vif-0").verdict, health::pass);
  EXPECT_FALSE(connected.frontends.at(0).is_stuck);
}

/// Domain 0 with a backend in this state, and perhaps an error that its driver reported.
check_result backends_with(const std::string& state, const std::string& error_nodes,
                           const std::string& nodename = "backend/vif/3/0\n") {
  xenpv::test::captured_tree tree("dom0");
  tree.with("/sys/bus/xen-backend/devices/vif-3-0/state", state + "\n")
      .with("/sys/bus/xen-backend/devices/vif-3-0/nodename", nodename)
      .with(channels::captured_store, error_nodes);
  return row(take_snapshot(tree.place()), "back-ends");
}

TEST(back_end_check, warns_of_the_error_of_a_connected_backend) {
  // netback calls xenbus_dev_fatal() and then switches to Connected.
  const std::string nodes =
      "error/backend/vif/3/0/error = \"2 parsing backend/vif/3/0/mac\"\n"
      "error/backend/vif/2/0/error = \"2 of a guest that is gone\"\n";
  for (const auto* nodename : {"backend/vif/3/0\n", ""}) {
    const auto result = backends_with("Connected", nodes, nodename);
    EXPECT_EQ(result.verdict, health::warn);
    EXPECT_EQ(result.summary,
              "1 backend reported an error: vif-3-0 (Connected): 2 parsing backend/vif/3/0/mac");
    EXPECT_EQ(value_of(result, "error/backend/vif/3/0/error"), "2 parsing backend/vif/3/0/mac");
    EXPECT_EQ(value_of(result, "/sys/bus/xen-backend/devices/vif-3-0/state"), "Connected");
    EXPECT_THAT(result.remedy, HasSubstr("errno"));
  }
  EXPECT_EQ(backends_with("Connected", "").verdict, health::pass);
}

TEST(back_end_check, names_the_error_and_the_wait_of_a_backend) {
  const auto result = backends_with("InitWait", "error/backend/vif/3/0/error = \"12 mapping\"\n");
  EXPECT_EQ(result.summary,
            "1 backend reported an error: vif-3-0 (InitWait): 12 mapping; 1 backend not connected: "
            "vif-3-0 waits for its frontend or hotplug script (InitWait)");
  EXPECT_THAT(result.remedy, AllOf(HasSubstr("errno"), HasSubstr("hotplug scripts")));
}

/// 2 CPUs, and all events of one channel on CPU 0.
guest_snapshot with_busy_row(const std::string& row_text) {
  xen::test::fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n")
      .with("/proc/interrupts",
            "           CPU0       CPU1\n"
            " 69:        100          0   xen-dyn    -event     xenbus\n" +
                row_text +
                " 71:          0     350000   xen-dyn    -event     blkif\n"
                "RES:          0          0   Rescheduling interrupts\n");
  return take_snapshot({.root = tree.root(), .is_capture = true});
}

TEST(spread_check, does_not_advise_netfront_for_a_physical_interface) {
  const auto result =
      row(with_busy_row(" 70:    9650000          0   xen-pirq   -msi       eth0\n"), "spread");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_THAT(result.summary, HasSubstr("moving channels would change little"));
  EXPECT_THAT(result.remedy, Not(HasSubstr("netfront")));
}

TEST(spread_check, passes_one_busy_queue_because_a_count_is_not_a_load) {
  auto snapshot = with_busy_row(" 70:    9650000          0   xen-dyn    -event     eth0\n");
  const auto unseen = row(snapshot, "spread");
  EXPECT_EQ(unseen.verdict, health::pass);
  EXPECT_THAT(unseen.remedy, HasSubstr("rps_cpus"));
  // The interface was renamed after its interrupt was named.
  snapshot.networks = {{.device = "vif-0", .name = "ens3", .rx_queues = 1, .uses_rps = false}};
  const auto off = row(snapshot, "spread");
  EXPECT_EQ(off.verdict, health::pass);
  EXPECT_THAT(off.summary, HasSubstr("RPS is off"));
  EXPECT_THAT(off.remedy, HasSubstr("possible improvement"));
}

TEST(spread_check, does_not_call_the_file_of_a_running_kernel_an_excerpt) {
  auto snapshot = with_busy_row("");
  std::erase_if(snapshot.channels.channels, [](const channels::channel& channel) {
    return channel.kind == channels::channel_kind::xenbus;
  });
  EXPECT_THAT(row(snapshot, "spread").summary, HasSubstr("may be an excerpt"));
  snapshot.is_capture = false;
  EXPECT_THAT(row(snapshot, "spread").summary, Not(HasSubstr("excerpt")));
  snapshot.is_capture = true;
  snapshot.is_whole_capture = true;
  EXPECT_THAT(row(snapshot, "spread").summary, Not(HasSubstr("excerpt")));
}

TEST(capture, of_xenpv_is_known_to_be_whole) {
  xenpv::test::captured_tree tree("pvh");
  tree.remove(channels::captured_about);
  EXPECT_FALSE(take_snapshot(tree.place()).is_whole_capture);
  tree.with(channels::captured_about, "time 2026-01-01T00:00:00Z\n");
  EXPECT_TRUE(take_snapshot(tree.place()).is_whole_capture);
}

TEST(log_check, tells_a_missing_init_from_a_missing_root_disk) {
  for (const auto* text : {"No init found.  Try passing init= option to kernel.",
                           "No working init found.  Try passing init= option to kernel."}) {
    const auto result =
        row(with_log({"Xen version 4.14.", fmt::format("Kernel panic - not syncing: {}", text)}),
            "log-crash");
    EXPECT_EQ(result.verdict, health::fail);
    EXPECT_EQ(result.summary,
              "the root file system contains no init: it is on the wrong disk, empty or damaged");
    EXPECT_THAT(result.remedy, Not(HasSubstr("xen-blkfront")));
  }
}

TEST(log_check, does_not_blame_an_earlier_resume_for_a_crash) {
  std::vector<std::string> lines = {"Xen version 4.14.", "WARNING: CPU: 0 at foo",
                                    " xen_irq_resume+0x1b/0xe0"};
  lines.insert(lines.end(), 100, "eth0: link up");
  lines.emplace_back("kernel BUG at drivers/net/xen-netfront.c:300!");
  lines.emplace_back(" xennet_poll+0x1b/0xe0");
  EXPECT_EQ(row(with_log(lines), "log-crash").summary, "the kernel crashed in Xen's code");
  lines.insert(lines.end(), 100, "eth0: link up");
  lines.emplace_back(" xen_irq_resume+0x1b/0xe0");
  EXPECT_EQ(row(with_log(lines), "log-crash").summary, "the kernel crashed in Xen's code");
}

TEST(log_check, counts_leaked_grants_once_and_tells_those_that_are_lost) {
  const auto summary = [](std::vector<std::string> lines) {
    lines.insert(lines.begin(), "Xen version 4.14.");
    return row(with_log(lines), "grant-table").summary;
  };
  const std::string pending = "xen:grant_table: g.e. 0x10 still pending";
  EXPECT_THAT(summary({pending, pending}), HasSubstr("1 grant was still mapped"));
  EXPECT_THAT(summary({pending, pending}), Not(HasSubstr("reboot")));
  EXPECT_THAT(summary({pending, pending, "xen:grant_table: leaking g.e. 0x11 (pfn 0x1)"}),
              AllOf(HasSubstr("1 grant is lost until a reboot"), HasSubstr("1 other grant was")));
  EXPECT_THAT(summary({pending, "xen:grant_table: leaking g.e. 0x10 (pfn 0x1)"}),
              AllOf(HasSubstr("1 grant is lost until a reboot"), Not(HasSubstr("other"))));
  // Linux 3.8 and older print no reference, and both lines for each grant.
  EXPECT_THAT(
      summary({"WARNING: g.e. still in use!", "WARNING: leaking g.e. and page still in use!"}),
      AllOf(HasSubstr("1 grant is lost until a reboot"), Not(HasSubstr("other"))));
}

TEST(grants_check, judges_no_use_that_was_not_examined) {
  xen::test::fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n")
      .with("/sys/module/xen_gntdev/parameters/limit", "1048576\n")
      .with("/sys/module/xen_gntalloc/parameters/limit", "1024\n");
  const auto snapshot = take_snapshot({.root = tree.root(), .is_capture = true});
  for (const auto* id : {"gntdev", "gntalloc"}) {
    EXPECT_EQ(row(snapshot, id).verdict, health::unknown) << id;
    EXPECT_THAT(row(snapshot, id).summary, Not(HasSubstr("0 ")));
  }
  EXPECT_EQ(value_of(row(snapshot, "gntdev"), "/sys/module/xen_gntdev/parameters/limit"),
            "1048576");
}

constexpr const char* timer_rows =
    "           CPU0       CPU1\n"
    " 64:       1000          0   xen-percpu -virq      timer0\n"
    " 70:          0       2000   xen-percpu -virq      timer1\n";

guest_snapshot with_files(const std::string& interrupts, const std::string& log) {
  xen::test::fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n").with("/proc/interrupts", interrupts);
  if (!log.empty()) tree.with(channels::captured_log, log);
  return take_snapshot({.root = tree.root(), .is_capture = true});
}

TEST(timer_check, uses_rows_of_all_cpus_without_row_loc_and_else_the_log) {
  EXPECT_EQ(row(with_files(timer_rows, ""), "timer").verdict, health::pass);
  const std::string one_row = "           CPU0       CPU1\n 69: 1 0 xen-dyn -event xenbus\n";
  const std::string log =
      "partial\nBooting paravirtualized kernel on Xen\ninstalling Xen timer for CPU 0\n"
      "installing Xen timer for CPU 1\n";
  const auto by_log = row(with_files(one_row, log), "timer");
  EXPECT_EQ(by_log.verdict, health::pass) << "a grepped row does not refute the log";
  EXPECT_THAT(by_log.summary, HasSubstr("installed the PV timer on CPUs 0-1"));
  EXPECT_EQ(row(with_files(one_row, ""), "timer").verdict, health::unknown);
}

TEST(timer_check, names_the_cpus_whose_rows_it_saw) {
  const auto result = row(snapshot_of("field-xenserver-pv-4cpu"), "timer");
  EXPECT_EQ(result.verdict, health::unknown);
  EXPECT_THAT(result.summary, HasSubstr("CPUs 0-1"));
}

TEST(upcall_check, names_the_cpus_on_which_events_arrived) {
  const auto result = row(snapshot_of("field-xenserver-pv-4cpu"), "upcall");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_THAT(result.summary, HasSubstr("events arrive on CPUs 0-1,"));
}

TEST(irqbalance, is_unknown_where_other_users_processes_are_hidden) {
  xen::test::fake_root tree;
  tree.with("/proc/4711/comm", "bash\n");
  EXPECT_EQ(find_irqbalance(tree.root()), std::nullopt) << "hidepid=2";
  tree.with("/proc/4712/comm", "irqbalance\n");
  EXPECT_EQ(find_irqbalance(tree.root()), true);
}

TEST(arm_timer, is_described_for_domain_0_as_well) {
  EXPECT_THAT(row(snapshot_of("field-arm64-dom0-versal"), "timer").summary,
              HasSubstr("ARM domains have no PV timer"));
}

// The rest takes minutes if any step is quadratic; the test's timeout is the judge.

TEST(hostile_log, with_endless_prefixes_is_read_in_linear_time) {
  std::string levels;
  for (int i = 0; i < 700'000; ++i)
    levels += "<6>";
  EXPECT_TRUE(without_log_prefix(levels).starts_with("<6>")) << "at most some prefixes are removed";
  std::string months;
  for (int i = 0; i < 300'000; ++i)
    months += "Oct 14 05:56:24 h kernel: ";
  EXPECT_FALSE(without_log_prefix(months).empty());
}

TEST(hostile_log, with_very_many_devices_is_judged_in_linear_time_with_few_quotes) {
  guest_snapshot snapshot = with_log({"Booting paravirtualized kernel on Xen"});
  constexpr int count = 300'000;
  for (int i = 0; i < count; ++i) {
    snapshot.log.lines.push_back(fmt::format("vif vif-{}: 2 text {}", i, i));
    snapshot.log.lines.push_back(fmt::format("XENBUS: Device with no driver: device/vbd/{}", i));
    snapshot.log.lines.push_back(fmt::format("blkfront: xvd{}: barriers enabled", i));
    snapshot.log.lines.push_back(fmt::format("xen:grant_table: g.e. 0x{:x} still pending", i));
    snapshot.log.lines.push_back("kernel BUG at drivers/xen/events/x.c:369!");
  }
  std::size_t bytes = 0;
  for (const auto& result : run_checks(snapshot))
    for (const auto& entry : result.evidence)
      bytes += result.summary.size() + entry.value.size();
  EXPECT_LT(bytes, 100'000U);
  EXPECT_THAT(row(snapshot, "log-xenbus").summary, HasSubstr("and 299997 more"));
}

TEST(hostile_log, with_very_many_devices_without_driver_names_three) {
  guest_snapshot snapshot = with_log({"Booting paravirtualized kernel on Xen"});
  for (int i = 0; i < 300'000; ++i)
    snapshot.log.lines.push_back(fmt::format("XENBUS: Device with no driver: device/vbd/{}", i));
  const auto result = row(snapshot, "log-xenbus");
  EXPECT_THAT(result.summary,
              HasSubstr("device/vbd/0, device/vbd/1, device/vbd/2, and 299995 more"));
  EXPECT_LE(result.evidence.size(), 5U);
}

TEST(hostile_capture, with_a_huge_file_is_refused_with_its_name) {
  xenpv::test::captured_tree tree("pvh");
  tree.with(channels::captured_log, "partial\n");
  const auto file = tree.root().path(channels::captured_log);
  std::filesystem::resize_file(file, 65 << 20);
  try {
    (void)take_snapshot(tree.place());
    FAIL() << "read the file";
  } catch (const failure& refusal) {
    EXPECT_THAT(refusal.what(), AllOf(HasSubstr("/xenpv/kernel-log"),
                                      HasSubstr("the file is larger than 64 MiB: shorten it")));
  }
}

TEST(hostile_capture, with_very_many_devices_and_messages_is_judged_in_linear_time) {
  guest_snapshot snapshot = with_log({"Booting paravirtualized kernel on Xen"});
  constexpr unsigned count = 40'000;
  for (unsigned i = 0; i < count; ++i) {
    snapshot.log.lines.push_back(fmt::format("vif vif-{}: 2 text that is not very short {}", i, i));
    snapshot.frontends.push_back({.name = fmt::format("vif-{}", i),
                                  .type = "vif",
                                  .path = fmt::format("device/vif/{}", i),
                                  .state = wire::xenbus_state::closed});
    snapshot.disks.push_back({.name = fmt::format("xvd{}", i), .path = fmt::format("d/{}", i)});
    for (const auto* detail : {"callfunc", "callfuncsingle"})
      snapshot.channels.channels.push_back({.kind = channels::channel_kind::ipi,
                                            .detail = detail,
                                            .irq = 3 * i + 7 * (detail[8] == 0),
                                            .of_cpu = i});
  }
  const auto results = run_checks(snapshot);
  EXPECT_GE(results.size(), 2 * count);
  EXPECT_EQ(group_results(results, false).size(), results.size());
}

}  // namespace
}  // namespace xenpv::doctor
