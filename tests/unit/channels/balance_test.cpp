#include "channels/balance.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <map>

#include "channels/rates.hpp"
#include "unit/channels/captured_tree.hpp"

namespace xenpv::channels {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

balance_channel movable(unsigned irq, unsigned cpu, std::uint64_t events, std::string name = "a") {
  return {.irq = irq, .name = std::move(name), .cpu = cpu, .events = events, .can_move = true};
}

balance_channel fixed(unsigned irq, unsigned cpu, std::uint64_t events) {
  return {.irq = irq, .name = "timer", .cpu = cpu, .events = events, .can_move = false};
}

/// Returns the plan as text, such as "24:0>1 25:0>2".
std::string plan_of(const balance_input& input, std::string_view policy) {
  const auto parsed = parse_balance_policy(policy).value();
  std::string out;
  const auto plan = plan_balance(input, parsed);
  for (const auto& move : plan.value())
    out += fmt::format("{}{}:{}>{}", out.empty() ? "" : " ", move.irq, move.from, move.to);
  return out;
}

TEST(balance, spreads_channels_that_are_all_on_one_cpu) {
  const balance_input input{.cpus = {0, 1, 2, 3},
                            .channels = {movable(10, 0, 100), movable(11, 0, 100),
                                         movable(12, 0, 100), movable(13, 0, 100)}};
  const auto plan = plan_balance(input, {}).value();
  EXPECT_EQ(plan.size(), 3U);
  EXPECT_THAT(events_after(input, plan), ElementsAre(100U, 100U, 100U, 100U));
  EXPECT_EQ(plan.front().reason, "CPU 0 receives 100 % of the events, CPU 3 receives 0 %");
}

TEST(balance, leaves_even_and_idle_channels_alone) {
  EXPECT_EQ(
      plan_of({.cpus = {0, 1}, .channels = {movable(1, 0, 100), movable(2, 1, 98)}}, "spread"), "");
  EXPECT_EQ(plan_of({.cpus = {0, 1}, .channels = {movable(1, 0, 0), movable(2, 0, 0)}}, "spread"),
            "");
  // A single channel is the whole load, so its CPU is the busiest wherever the channel is.
  EXPECT_EQ(plan_of({.cpus = {0, 1}, .channels = {movable(1, 0, 100)}}, "spread"), "");
}

TEST(balance, counts_timers_but_never_moves_them) {
  const balance_input input{
      .cpus = {0, 1},
      .channels = {fixed(1, 0, 1000), fixed(2, 1, 100), movable(3, 0, 200), movable(4, 1, 50)}};
  EXPECT_EQ(plan_of(input, "spread"), "3:0>1");
}

TEST(balance, skips_a_busiest_cpu_without_movable_channels) {
  const balance_input input{
      .cpus = {0, 1, 2}, .channels = {fixed(1, 0, 1000), movable(3, 1, 400), movable(4, 1, 400)}};
  EXPECT_EQ(plan_of(input, "spread"), "3:1>2");
}

TEST(balance, stays_within_numa_nodes) {
  const balance_input input{.cpus = {0, 1, 2, 3},
                            .channels = {movable(10, 0, 100), movable(11, 0, 100),
                                         movable(12, 0, 100), movable(13, 0, 100)},
                            .nodes = {{0, 0}, {1, 0}, {2, 1}, {3, 1}}};
  EXPECT_EQ(plan_of(input, "numa"), "10:0>1 11:0>1");
  const auto refused = plan_balance({.cpus = {0, 1}}, {.policy = balance_policy::numa});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text,
            "balance within NUMA nodes: not available here (this guest has a single node; use "
            "spread)");
}

TEST(balance, pins_by_name_in_turn_and_by_the_first_matching_rule) {
  const balance_input input{
      .cpus = {0, 1, 2, 3},
      .channels = {movable(10, 0, 0, "vif0-q0-tx"), movable(11, 0, 0, "vif0-q0-rx"),
                   movable(12, 2, 0, "vif0-q1-tx"), movable(13, 0, 0, "blkif"), fixed(14, 0, 9)}};
  EXPECT_EQ(plan_of(input, "pin:vif0-q0*=1-2;vif*=3;timer=3"), "10:0>1 11:0>2 12:2>3");
  const auto refused = plan_balance(input, parse_balance_policy("pin:blkif=9").value());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text, "pin blkif to CPU 9: invalid argument (online CPUs: 0-3)");
}

TEST(balance, refuses_malformed_policies) {
  for (const auto* text : {"", "spreads", "pin:", "pin:a", "pin:=1", "pin:a=x", "pin:a=1;"})
    EXPECT_FALSE(parse_balance_policy(text)) << text;
}

TEST(balance, reads_nodes_and_channels_of_a_large_guest) {
  const test::captured_tree tree("cpus-64");
  const auto nodes = read_numa_nodes(tree.root());
  EXPECT_EQ(nodes.size(), 64U);
  EXPECT_EQ(nodes.at(40), 1U);
  const auto all = make_inventory(tree.read());
  std::map<unsigned, std::uint64_t> events;
  for (const auto& entry : all.channels)
    if (entry.name == "blkif") events[*entry.irq] = entry.total();
  const auto input = make_balance_input(all, events);
  const auto plan = plan_balance(input, {}).value();
  EXPECT_EQ(plan.size(), 63U);
  EXPECT_GT(balance_of(events_after(input, plan)), 0.99);
}

TEST(balance, reads_no_nodes_on_a_machine_with_one) {
  test::captured_tree tree("pv");
  tree.with("/sys/devices/system/node/node0/cpulist", "0-1\n");
  EXPECT_THAT(read_numa_nodes(tree.root()), IsEmpty());
}

}  // namespace
}  // namespace xenpv::channels
