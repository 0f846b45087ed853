// The smaller parsers: /proc/irq, /proc/stat, clocks, devices, xenstore ports, processes.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "doctor/xenbus_devices.hpp"
#include "probe/clock_facts.hpp"
#include "unit/channels/captured_tree.hpp"

namespace xenpv::doctor {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(irq_files, parses_spurious_counts) {
  const auto spurious =
      channels::parse_spurious("count 1234\nunhandled 5\nlast_unhandled 4294667380 ms\n").value();
  EXPECT_EQ(spurious.count, 1234U);
  EXPECT_EQ(spurious.unhandled, 5U);
  EXPECT_EQ(spurious.last_unhandled_ms, 4294667380U);
  EXPECT_FALSE(channels::parse_spurious(""));
  EXPECT_FALSE(channels::parse_spurious("count many\n"));
}

TEST(irq_files, parses_cpu_sets_including_empty_ones) {
  EXPECT_THAT(*channels::parse_cpu_set("0-2,5\n"), ElementsAre(0U, 1U, 2U, 5U));
  EXPECT_THAT(*channels::parse_cpu_set("\n"), IsEmpty());
  EXPECT_FALSE(channels::parse_cpu_set("0-\n"));
  EXPECT_FALSE(channels::parse_cpu_set("99999\n"));
}

TEST(irq_files, reads_the_facts_of_an_interrupt) {
  const auto facts = channels::read_irq_facts(xenpv::test::captured_tree("pv").root(), 14);
  EXPECT_THAT(*facts.allowed, ElementsAre(0U, 1U));
  EXPECT_THAT(*facts.effective, ElementsAre(1U));
  EXPECT_EQ(facts.actions, "blkif");
  EXPECT_EQ(facts.chip, "xen-dyn-lateeoi");
  EXPECT_EQ(facts.handler, "event");
  EXPECT_EQ(facts.trigger, "edge");
  EXPECT_EQ(facts.spurious->unhandled, 0U);
}

TEST(clock_facts, parses_cpu_times) {
  const auto times = probe::parse_cpu_times(
      "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu12 1 1 1 1 1 1 1 90 0 0\n"
      "cpu3 short\nintr 5 0\n");
  ASSERT_EQ(times.size(), 2U);
  EXPECT_EQ(times[0], (probe::cpu_time{.cpu = 0, .busy = 19, .idle = 9, .steal = 8}));
  EXPECT_EQ(times[1].steal, 90U);
}

TEST(clock_facts, ignores_steal_time_that_decreased) {
  EXPECT_EQ(probe::steal_between({{0, 0, 0, 50}, {1, 0, 0, 10}}, {{0, 0, 0, 20}, {1, 0, 0, 13}}),
            3U);
  EXPECT_EQ(probe::steal_between({}, {{0, 0, 0, 20}}), 0U);
}

TEST(clock_facts, reads_the_clocks_of_a_guest) {
  const auto clock = probe::read_clock_facts(xenpv::test::captured_tree("pvh").root());
  EXPECT_EQ(clock.clocksource, "xen");
  ASSERT_EQ(clock.events.size(), 2U);
  EXPECT_EQ(clock.events[1].device, "xen");
  // The broadcast device comes first, as in the file.
  ASSERT_EQ(clock.timer_devices.size(), 3U);
  EXPECT_EQ(clock.timer_devices[0].name, "pit");
  EXPECT_FALSE(clock.timer_devices[0].cpu);
  EXPECT_EQ(clock.timer_devices[2].cpu, 1U);
  EXPECT_EQ(clock.timer_devices[2].min_delta_ns, 100000U);
  EXPECT_EQ(clock.timer_devices[2].set_next_event, "xen_vcpuop_set_next_event");
  EXPECT_EQ(clock.timer_devices[2].event_handler, "hrtimer_interrupt");
}

TEST(clock_facts, recognises_an_emulated_timer) {
  const auto clock = probe::read_clock_facts(xenpv::test::captured_tree("hvm-intx").root());
  ASSERT_FALSE(clock.events.empty());
  EXPECT_NE(clock.events[0].device, "xen");
}

TEST(xenbus_devices, reads_front_ends_with_their_counters) {
  const auto devices = read_xenbus_devices(xenpv::test::captured_tree("hvm-vector").root());
  ASSERT_EQ(devices.size(), 4U);
  EXPECT_EQ(devices[2].name, "vbd-51712");
  EXPECT_EQ(devices[2].nodename, "device/vbd/51712");
  EXPECT_EQ(devices[2].type, "vbd");
  EXPECT_FALSE(devices[2].is_backend);
  ASSERT_TRUE(devices[2].counters);
  EXPECT_EQ(devices[2].counters->spurious_threshold, 1U);
}

TEST(store_ports, finds_the_ports_of_all_kinds_of_devices) {
  const auto ports = channels::find_store_ports(channels::parse_store_listing(
      "device/vif/0/queue-1/event-channel-tx = \"12\"\n"
      "device/vif/0/event-channel-ctrl = \"9\"\n"
      "device/vif/0/backend-id = \"3\"\n"
      "device/vbd/51712/event-channel = \"7\"\n"
      "console/port = \"2\"\n"
      "store/port = \"1\"\n"
      "device/suspend/event-channel = \"\"\n"
      "device/vbd/51728/event-channel = \"0\"\n"
      "device/vbd/51728/queue-x/event-channel = \"5\"\n"
      "device/console/1/port = \"33\"\n"
      "/local/domain/4/device/vbd/51712/queue-0/event-channel = \"6\"\n"
      "/local/domain/4/device/vbd/51712/backend-id = \"0\"\n"
      "/vm/device/vbd/1/event-channel = \"8\"\n"
      "not a node\n"));
  std::vector<std::string> lines;
  for (const auto& entry : ports)
    lines.push_back(fmt::format("{} {} {}{} of {} at {}", entry.number_of_port, entry.device,
                                entry.queue ? fmt::format("q{}", *entry.queue) : "", entry.role,
                                entry.owner, entry.backend));
  EXPECT_THAT(lines,
              ElementsAre("6 device/vbd/51712 q0 of 4 at 0", "1 store  of 32752 at 0",
                          "2 console  of 32752 at 0", "7 device/vbd/51712  of 32752 at 0",
                          "9 device/vif/0 ctrl of 32752 at 3", "12 device/vif/0 q1tx of 32752 at 3",
                          "33 device/console/1  of 32752 at 0"));
}

TEST(store_ports, listings_survive_a_round_trip) {
  const channels::store_nodes nodes = {{"a/b", "1"}, {"c", "with \"quotes\" in it"}};
  EXPECT_EQ(channels::parse_store_listing(channels::format_store_listing(nodes)), nodes);
}

TEST(port_holders, are_found_by_the_name_of_any_thread) {
  const auto holders =
      channels::parse_port_holders("12\txenstored\txenstored\n40\tmine\tmain\txev-cpu3\nx\ty\n");
  ASSERT_EQ(holders.size(), 2U);
  EXPECT_EQ(channels::parse_port_holders(channels::format_port_holders(holders)), holders);
  ASSERT_EQ(channels::holders_named(holders, "xev-cpu3").size(), 1U);
  EXPECT_EQ(channels::holders_named(holders, "xev-cpu3").front()->pid, 40U);
  EXPECT_THAT(channels::holders_named(holders, "nobody"), IsEmpty());
}

TEST(port_holders, are_found_by_the_descriptors_of_processes) {
  xen::test::fake_root tree;
  tree.with("/proc/77/comm", "daemon\n").with("/proc/77/task/77/comm", "daemon\n");
  tree.with("/proc/77/task/78/comm", "xev-cpu0\n").with("/proc/77/fd/keep");
  tree.with("/proc/88/comm", "other\n").with("/proc/88/fd/keep");
  std::filesystem::create_symlink("/dev/xen/evtchn", tree.root().path("/proc/77/fd/5"));
  std::filesystem::create_symlink("/dev/null", tree.root().path("/proc/88/fd/5"));
  const auto holders = channels::read_port_holders(tree.root());
  ASSERT_EQ(holders.size(), 1U);
  EXPECT_EQ(holders[0], (channels::port_holder{77, "daemon", {"daemon", "xev-cpu0"}}));
}

}  // namespace
}  // namespace xenpv::doctor
