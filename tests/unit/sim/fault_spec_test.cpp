#include "sim/fault_spec.hpp"

#include <gtest/gtest.h>

namespace xenpv::sim {
namespace {

using namespace std::chrono_literals;

fault_switches parsed(std::string_view text) {
  fault_switches switches;
  parse_fault(text, switches).value();
  return switches;
}

TEST(fault_spec, each_name_sets_one_switch) {
  EXPECT_EQ(parsed("event-lost=1/10").event_lost, (ratio{1, 10}));
  EXPECT_EQ(parsed("event-doubled=2/3").event_doubled, (ratio{2, 3}));
  EXPECT_EQ(parsed("grant-refused=1/2").grant_refused, (ratio{1, 2}));
  EXPECT_EQ(parsed("store-slow=20ms").store_delay, 20ms);
  EXPECT_EQ(parsed("store-fail=7").store_fail_every, 7U);
  EXPECT_EQ(parsed("store-eagain=2").store_eagain_every, 2U);
  EXPECT_EQ(parsed("store-vanish=100").store_vanish_after, 100U);
}

TEST(fault_spec, delay_affects_every_event_without_a_ratio) {
  EXPECT_EQ(parsed("event-delayed=5ms").event_delayed, (ratio{1, 1}));
  EXPECT_EQ(parsed("event-delayed=5ms").event_delay, 5ms);
  EXPECT_EQ(parsed("event-delayed=1s:1/4").event_delayed, (ratio{1, 4}));
  EXPECT_EQ(parsed("event-delayed=1s:1/4").event_delay, 1s);
}

TEST(fault_spec, none_clears_all_faults) {
  fault_switches switches;
  parse_fault("event-lost=1/2", switches).value();
  parse_fault("store-slow=1s", switches).value();
  parse_fault("none", switches).value();
  EXPECT_EQ(switches.event_lost.part, 0U);
  EXPECT_EQ(switches.store_delay, 0ns);
}

TEST(fault_spec, rejects_invalid_faults_without_effect) {
  struct bad {
    const char* text;
    const char* message;
  };
  const bad cases[] = {
      {"event-lost=3/2",
       "event-lost '3/2': invalid argument (expected a ratio of at most one, such as 1/10)"},
      {"event-lost",
       "event-lost '': invalid argument (expected a ratio of at most one, such as 1/10)"},
      {"store-fail=x",
       "store-fail 'x': invalid argument (expected a whole number from 0 to 4294967295)"},
      {"store-slow=20",
       "store-slow '20': invalid argument (expected a time with a unit (ns, us, ms, s, min, h, "
       "d), such as 0.5s)"},
      {"gremlins=1",
       "fault 'gremlins=1': invalid argument (expected event-lost, event-doubled, event-delayed, "
       "grant-refused, store-slow, store-fail, store-eagain, store-vanish or none)"},
  };
  for (const auto& [text, message] : cases) {
    fault_switches switches;
    const auto outcome = parse_fault(text, switches);
    ASSERT_FALSE(outcome) << text;
    EXPECT_EQ(outcome.error().text, message);
    EXPECT_EQ(switches.event_lost.part, 0U);
  }
}

}  // namespace
}  // namespace xenpv::sim
