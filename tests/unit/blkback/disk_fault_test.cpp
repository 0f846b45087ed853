#include "blkback/disk_fault.hpp"

#include <gtest/gtest.h>

namespace xenpv::blkback {
namespace {

using namespace std::chrono_literals;

disk_faults parse(std::string_view text) {
  return parse_disk_faults(text).value();
}
std::string error_of(std::string_view text) {
  disk_faults faults;
  const auto parsed = parse_disk_fault(text, faults);
  return parsed ? "" : parsed.error().text;
}

TEST(parse_disk_fault, accepts_every_fault) {
  const auto all = parse(
      "error=3 delay=5ms:1/10 late=2s:1/4 stall=7 reorder answer-twice=2 bad-id=4 "
      "wrong-operation=5 "
      "producer-jump=6 vanish=8 refuse-indirect refuse-flush refuse-discard");
  disk_faults expected;
  expected.error_every = 3;
  expected.delay = 5ms;
  expected.delayed = {1, 10};
  expected.late_by = 2s;
  expected.late = {1, 4};
  expected.stall_after = 7;
  expected.reorder = true;
  expected.answer_twice_every = 2;
  expected.bad_id_every = 4;
  expected.wrong_operation_every = 5;
  expected.producer_jump_every = 6;
  expected.vanish_after = 8;
  expected.refuse_indirect = expected.refuse_flush = expected.refuse_discard = true;
  EXPECT_EQ(all, expected);
}

TEST(parse_disk_fault, has_defaults_for_optional_parts) {
  EXPECT_EQ(parse("stall").stall_after, 0u);
  EXPECT_EQ(parse("delay=1s").delayed, (ratio{1, 1}));
  EXPECT_EQ(parse("error=3 none reorder error=0").error_every, 0u);
  EXPECT_EQ(parse(""), disk_faults{});
  EXPECT_EQ(parse("error=3  none"), disk_faults{});
}

TEST(parse_disk_fault, names_the_bad_fault_and_the_known_ones) {
  const std::string known =
      " (expected error=N, delay=TIME[:P/N], late=TIME[:P/N], stall[=N], reorder, "
      "answer-twice=N, bad-id=N, wrong-operation=N, producer-jump=N, vanish=N, refuse-indirect, "
      "refuse-flush, refuse-discard or none)";
  EXPECT_EQ(error_of("gremlins"), "disk fault 'gremlins': invalid argument" + known);
  EXPECT_EQ(error_of("reorder=1"), "disk fault 'reorder=1': invalid argument" + known);
  EXPECT_EQ(error_of("error"), "disk fault 'error': invalid argument" + known);
  EXPECT_EQ(error_of("vanish"), "disk fault 'vanish': invalid argument" + known);
  EXPECT_EQ(error_of(""), "disk fault '': invalid argument" + known);
  EXPECT_NE(error_of("error=x").find("error 'x'"), std::string::npos) << error_of("error=x");
  EXPECT_NE(error_of("stall=").find("stall ''"), std::string::npos) << error_of("stall=");
  EXPECT_NE(error_of("delay=5").find("delay '5'"), std::string::npos) << error_of("delay=5");
  EXPECT_NE(error_of("late=5").find("late '5'"), std::string::npos) << error_of("late=5");
  EXPECT_NE(error_of("delay=5ms:2").find("delay '2'"), std::string::npos);
}

}  // namespace
}  // namespace xenpv::blkback
