// Limiting how often a kind of message is written.
#include "base/limited_log.hpp"

#include <gmock/gmock.h>

#include <vector>

namespace xenpv {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

struct recorder {
  std::vector<std::string> lines;
  limited_log log{"clients refused", [this](std::string_view text) { lines.emplace_back(text); }};
  limited_log::time_point start{std::chrono::hours(1)};
};

TEST(limited_log, writes_the_first_message_at_once) {
  recorder out;
  out.log.write("client 1", out.start);
  EXPECT_THAT(out.lines, ElementsAre("client 1"));
  EXPECT_FALSE(out.log.flush_at());
}

TEST(limited_log, withholds_messages_within_the_interval_and_reports_their_number) {
  recorder out;
  for (int i = 0; i < 1000; ++i)
    out.log.write("client", out.start + i * 1ms);
  EXPECT_THAT(out.lines, ElementsAre("client"));
  out.log.write("client 1001", out.start + 1s);
  EXPECT_THAT(
      out.lines,
      ElementsAre("client", "client 1001 (999 more clients refused since the last message)"));
}

TEST(limited_log, writes_messages_that_are_an_interval_apart_without_a_number) {
  recorder out;
  out.log.write("a", out.start);
  out.log.write("b", out.start + 1s);
  out.log.write("c", out.start + 2s);
  EXPECT_THAT(out.lines, ElementsAre("a", "b", "c"));
}

TEST(limited_log, flush_reports_the_number_once_and_not_before_the_interval_is_over) {
  recorder out;
  out.log.write("a", out.start);
  out.log.write("b", out.start + 1ms);
  EXPECT_EQ(out.log.flush_at(), out.start + 1s);
  out.log.flush(out.start + 999ms);
  EXPECT_THAT(out.lines, ElementsAre("a"));
  out.log.flush(out.start + 1s);
  EXPECT_THAT(out.lines, ElementsAre("a", "1 more clients refused, the last: b"));
  EXPECT_FALSE(out.log.flush_at());
  out.log.flush(out.start + 5s);
  EXPECT_EQ(out.lines.size(), 2U);
}

TEST(limited_log, flush_counts_as_a_message) {
  recorder out;
  out.log.write("a", out.start);
  out.log.write("b", out.start + 1ms);
  out.log.flush(out.start + 1s);
  out.log.write("c", out.start + 1001ms);
  EXPECT_EQ(out.lines.size(), 2U);
}

TEST(limited_log, a_final_flush_does_not_wait_for_the_interval) {
  recorder out;
  out.log.write("a", out.start);
  out.log.write("b", out.start + 1ms);
  out.log.flush(out.start + 2ms, true);
  EXPECT_THAT(out.lines, ElementsAre("a", "1 more clients refused, the last: b"));
}

TEST(limited_log, a_flush_without_messages_writes_nothing) {
  recorder out;
  out.log.flush(out.start, true);
  EXPECT_THAT(out.lines, IsEmpty());
}

}  // namespace
}  // namespace xenpv
