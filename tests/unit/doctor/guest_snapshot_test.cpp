// The facts that the doctor gathers (kernel log, grants in use, disks), also after a round trip
// through a capture.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "doctor/capture.hpp"
#include "doctor/guest_snapshot.hpp"
#include "doctor/vdso.hpp"
#include "unit/channels/captured_tree.hpp"

namespace xenpv::doctor {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(kernel_log, strips_headers_and_properties_from_records) {
  kernel_log log;
  add_kernel_record(log, "6,0,0,-;Linux version 6.1.0\n");
  add_kernel_record(log, "4,1,28572412,-;xen:events: Using FIFO-based ABI\n SUBSYSTEM=xen\n");
  add_kernel_record(log, "no record");
  add_kernel_record(log, ";");
  EXPECT_THAT(log.lines, ElementsAre("Linux version 6.1.0", "xen:events: Using FIFO-based ABI"));
  EXPECT_TRUE(log.is_complete);
  ASSERT_NE(log.find("FIFO"), nullptr);
  EXPECT_EQ(log.find("2-level"), nullptr);
}

TEST(kernel_log, detects_that_its_beginning_was_overwritten) {
  kernel_log log;
  add_kernel_record(log, "6,812,99000000,-;eth0: link up\n");
  EXPECT_FALSE(log.is_complete);
}

TEST(kernel_log, survives_a_capture_without_its_command_lines) {
  const kernel_log log{
      .lines = {"Command line: root=/dev/xvda secret=xen", "xen:balloon: x", "usb 1-1"},
      .is_complete = true};
  const auto kept = parse_kernel_log(format_kernel_log(without_foreign_lines(log)));
  EXPECT_THAT(kept.lines, ElementsAre("xen:balloon: x"));
  EXPECT_TRUE(kept.is_complete);
}

TEST(grant_use, counts_pages_of_both_devices) {
  grant_holder holder;
  add_mappings(holder,
               "7f0000000000-7f0000004000 rw-s 00000000 00:05 310   /dev/xen/gntalloc\n"
               "7f0000010000-7f0000011000 rw-s 00000000 00:05 311   /dev/xen/gntdev\n"
               "7f0000020000-7f0000021000 rw-p 00000000 00:00 0\n"
               "junk /dev/xen/gntalloc\n7f2-7f1 rw-s 0 0 0 /dev/xen/gntdev\n");
  EXPECT_EQ(holder.shared, 4U);
  EXPECT_EQ(holder.mapped, 1U);
}

TEST(grant_use, survives_a_capture) {
  grant_use use{.sees_all_processes = true};
  use.holders = {{.pid = 310, .command = "xenpv disk", .shared = 512, .mapped = 3}};
  use.trial = share_trial{.error = 28, .problem = "share 1 page: no space left on device"};
  grant_use again;
  parse_grant_use(format_grant_use(use), again);
  EXPECT_EQ(again.holders, use.holders);
  EXPECT_TRUE(again.sees_all_processes);
  ASSERT_TRUE(again.trial);
  EXPECT_EQ(again.trial->error, 28);
  EXPECT_EQ(again.trial->problem, use.trial->problem);
}

TEST(disk_facts, joins_both_ends_and_the_kernels_device) {
  xen::test::fake_root tree;
  tree.with("/sys/bus/xen/devices/vbd-51728/driver", "")
      .with("/sys/block/xvdb/queue/max_segments", "32\n")
      .with("/sys/block/xvdb/queue/write_cache", "write back\n")
      .with("/sys/block/xvdb/mq/0/cpu_list", "0\n")
      .with("/sys/block/xvdb/mq/1/cpu_list", "1\n");
  const channels::store_nodes nodes = {
      {"device/vbd/51728/backend", "/local/domain/0/backend/vbd/1/51728"},
      {"device/vbd/51728/state", "4"},
      {"device/vif/0/state", "4"},
      {"/local/domain/0/backend/vbd/1/51728/feature-persistent", "1"}};
  const auto disks = make_disk_facts(tree.root(), nodes);
  ASSERT_EQ(disks.size(), 1U);
  EXPECT_EQ(disks[0].name, "xvdb");
  EXPECT_TRUE(disks[0].kernel_drives);
  EXPECT_EQ(disks[0].front.at("state"), "4");
  EXPECT_EQ(disks[0].back.at("feature-persistent"), "1");
  EXPECT_EQ(disks[0].max_segments, 32U);
  EXPECT_EQ(disks[0].hardware_queues, 2U);
}

TEST(disk_facts, ignores_junk_in_xenstore) {
  EXPECT_THAT(
      make_disk_facts(xen::test::fake_root().root(),
                      {{"device/vbd/x/state", "4"}, {"device/vbd", ""}, {"device/vbd/", "4"}}),
      IsEmpty());
}

TEST(guest_snapshot, finds_options_of_the_command_line) {
  guest_snapshot snapshot;
  snapshot.command_line = "console=hvc0 xen_no_vector_callback=1 xen.fifo_events=01";
  EXPECT_TRUE(snapshot.was_booted_with(boot_option::no_vector_callback));
  EXPECT_FALSE(snapshot.was_booted_with(boot_option::no_fifo_events));
}

TEST(guest_snapshot, of_an_empty_tree_is_no_xen_domain) {
  const auto snapshot = take_snapshot({.root = xen::test::fake_root().root(), .is_capture = true});
  EXPECT_FALSE(snapshot.on_xen());
  EXPECT_EQ(run_checks(snapshot).front().id, "domain");
}

TEST(guest_snapshot, of_a_capture_of_a_capture_gives_the_same_results) {
  const xenpv::test::captured_tree tree("pvh");
  xen::test::fake_root again;
  for (const auto& file : collect_capture(tree.place()))
    again.with(file.path, file.content);
  const auto rows = run_checks(take_snapshot(tree.place()));
  const auto later = run_checks(take_snapshot({.root = again.root(), .is_capture = true}));
  ASSERT_EQ(rows.size(), later.size());
  for (std::size_t i = 0; i < rows.size(); ++i)
    EXPECT_EQ(rows[i].verdict, later[i].verdict) << rows[i].id;
}

TEST(capture, keeps_the_boot_options_that_checks_ask_for) {
  const auto asked = fmt::format("{}\n", fmt::join(boot_options, " "));
  xenpv::test::captured_tree tree("pvh");
  const auto files = collect_capture(tree.with("/proc/cmdline", "secret=1 " + asked).place());
  const auto line = std::ranges::find(files, "/proc/cmdline", &captured_file::path);
  ASSERT_NE(line, files.end());
  EXPECT_EQ(line->content, asked);
}

TEST(vdso, reports_how_the_clock_is_read_without_disturbing_the_process) {
  const auto in_vdso = clock_is_read_in_vdso();
  timespec at{};
  EXPECT_EQ(::clock_gettime(CLOCK_MONOTONIC, &at), 0);
  // There is no vDSO under valgrind or gVisor, so this only checks that the result is stable.
  EXPECT_EQ(in_vdso, clock_is_read_in_vdso());
}

}  // namespace
}  // namespace xenpv::doctor
