#include "channels/balance.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

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
                            .channels = {movable(10, 0, 100'000), movable(11, 0, 100'000),
                                         movable(12, 0, 100'000), movable(13, 0, 100'000)}};
  const auto plan = plan_balance(input, {}).value();
  EXPECT_EQ(plan.size(), 3U);
  EXPECT_THAT(events_after(input, plan), ElementsAre(100'000U, 100'000U, 100'000U, 100'000U));
  EXPECT_EQ(plan.front().reason, "CPU 0 receives 100.0 % of the events, CPU 3 receives 0.0 %");
}

TEST(balance, leaves_even_and_idle_channels_alone) {
  EXPECT_EQ(plan_of({.cpus = {0, 1}, .channels = {movable(1, 0, 100'000), movable(2, 1, 98'000)}},
                    "spread"),
            "");
  EXPECT_EQ(plan_of({.cpus = {0, 1}, .channels = {movable(1, 0, 0), movable(2, 0, 0)}}, "spread"),
            "");
  // A single channel is the whole load, so its CPU is the busiest wherever the channel is.
  EXPECT_EQ(plan_of({.cpus = {0, 1}, .channels = {movable(1, 0, 100'000)}}, "spread"), "");
}

TEST(balance, counts_timers_but_never_moves_them) {
  const balance_input input{.cpus = {0, 1},
                            .channels = {fixed(1, 0, 1'000'000), fixed(2, 1, 100'000),
                                         movable(3, 0, 200'000), movable(4, 1, 50'000)}};
  EXPECT_EQ(plan_of(input, "spread"), "3:0>1");
}

TEST(balance, skips_a_busiest_cpu_without_movable_channels) {
  const balance_input input{
      .cpus = {0, 1, 2},
      .channels = {fixed(1, 0, 1'000'000), movable(3, 1, 400'000), movable(4, 1, 400'000)}};
  EXPECT_EQ(plan_of(input, "spread"), "3:1>2");
}

TEST(balance, stays_within_numa_nodes) {
  const balance_input input{.cpus = {0, 1, 2, 3},
                            .channels = {movable(10, 0, 100'000), movable(11, 0, 100'000),
                                         movable(12, 0, 100'000), movable(13, 0, 100'000)},
                            .nodes = {{0, 0}, {1, 0}, {2, 1}, {3, 1}}};
  EXPECT_EQ(plan_of(input, "numa"), "10:0>1 11:0>1");
  const auto refused = plan_balance({.cpus = {0, 1}}, {.policy = balance_policy::numa});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text,
            "balance within NUMA nodes: not available here (this guest has a single node; use "
            "spread)");
}

/// Returns channels with the same number of events, all on CPU 0.
balance_input equal_channels(unsigned count, std::uint64_t events, std::vector<unsigned> cpus) {
  balance_input out{.cpus = std::move(cpus)};
  for (unsigned i = 0; i < count; ++i)
    out.channels.push_back(movable(100 + i, 0, events));
  return out;
}

// Each channel's load is below the minimum gain of a plan.
TEST(balance, spreads_many_small_channels) {
  for (const unsigned count : {39U, 41U}) {
    const auto input = equal_channels(count, 1000, {0, 1});
    const auto plan = plan_balance(input, {}).value();
    EXPECT_EQ(plan.size(), count / 2);
    EXPECT_GT(balance_of(events_after(input, plan)), 0.99);
  }
  // Domain 0 of a host with hundreds of network interfaces.
  const auto input = equal_channels(600, 20'000, {0, 1, 2, 3, 4, 5, 6, 7});
  const auto plan = plan_balance(input, {}).value();
  EXPECT_GT(balance_of(events_after(input, plan)), 0.99);
  EXPECT_LE(plan.size(), 525U);
}

TEST(balance, omits_moves_that_gain_nearly_nothing) {
  auto input = equal_channels(4, 100'000, {0, 1});
  for (unsigned i = 0; i < 10; ++i)
    input.channels.push_back(movable(1 + i, 0, 3));
  EXPECT_EQ(plan_of(input, "spread"), "100:0>1 101:0>1");
}

TEST(balance, plans_nothing_for_few_events) {
  EXPECT_EQ(plan_of(equal_channels(2, enough_events / 2 - 1, {0, 1}), "spread"), "");
  EXPECT_EQ(plan_of(equal_channels(2, enough_events / 2, {0, 1}), "spread"), "100:0>1");
  // Timers do not count: only the channels that can move are judged.
  auto with_timers = equal_channels(2, 222, {0, 1});
  with_timers.channels.push_back(fixed(1, 0, 1'000'000));
  EXPECT_EQ(plan_of(with_timers, "spread"), "");
  EXPECT_EQ(movable_events(with_timers), 444U);
}

TEST(balance, takes_the_shares_of_moved_channels_from_their_columns) {
  const auto all = make_inventory(test::captured_tree("moved-channels").read());
  const auto input = make_balance_input(all, events_since_boot(all));
  EXPECT_EQ(events_after(input, {}), all.events_per_cpu());
  EXPECT_THAT(plan_balance(input, {}).value(), IsEmpty());
}

TEST(balance, plans_with_the_current_cpu_of_a_channel_that_was_moved) {
  // Both have been counted on CPU 0, but channel 2 has been moved since.
  balance_input input{.cpus = {0, 1}, .channels = {movable(1, 0, 50'000), movable(2, 1, 50'000)}};
  for (auto& channel : input.channels)
    channel.counts = {50'000, 0};
  EXPECT_EQ(plan_of(input, "spread"), "");
  input.channels[1].is_placed = false;
  input.channels[1].cpu = 0;
  const auto plan = plan_balance(input, {}).value();
  ASSERT_EQ(plan.size(), 1U);
  EXPECT_EQ(plan.front().reason, "CPU 0 receives 100.0 % of the events, CPU 1 receives 0.0 %");
  EXPECT_THAT(events_after(input, plan), ElementsAre(50'000U, 50'000U));
}

TEST(balance, assigns_rates_to_the_cpus_of_the_inventory) {
  inventory all{.cpus = {0, 2}};
  all.channels.push_back({.name = "a", .irq = 5, .counts = {7, 9}});
  // CPU 1 went offline after the second sample.
  rate_report rates;
  rates.cpus = {0, 1, 2};
  rates.channels.emplace_back();
  rates.channels.back().irq = 5;
  rates.channels.back().grown = {1, 2, 3};
  const auto input = make_balance_input(all, events_in(rates, all));
  EXPECT_THAT(events_after(input, {}), ElementsAre(1U, 3U));
  EXPECT_EQ(input.channels.at(0).cpu, 2U);
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
  auto events = events_since_boot(all);
  for (const auto& entry : all.channels)
    if (entry.irq && entry.name != "blkif") events.erase(*entry.irq);
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
