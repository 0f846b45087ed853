#include "doctor/event_abi.hpp"

#include <gtest/gtest.h>

#include "doctor/health_report.hpp"
#include "unit/doctor/checks_rig.hpp"

namespace xenpv::doctor {
namespace {

using channels::event_abi;
using test::snapshot_of;

std::optional<event_abi> abi_of(const std::string& capture) {
  return find_event_abi(take_channel_snapshot(xenpv::test::captured_tree(capture).place())).abi;
}

TEST(event_abi, is_known_only_with_evidence) {
  EXPECT_EQ(abi_of("pv"), event_abi::fifo);
  EXPECT_EQ(abi_of("hvm-intx"), std::nullopt);
  // Before Linux 5.11, both ABIs have debugN rows; the release of old-kernel is unknown.
  EXPECT_EQ(abi_of("debug-rows"), std::nullopt);
  EXPECT_EQ(abi_of("old-kernel"), std::nullopt);
  // Linux 3.2 and XenLinux have only one ABI.
  EXPECT_EQ(abi_of("moved-channels"), event_abi::two_level);
  EXPECT_EQ(abi_of("xenlinux-dom0"), event_abi::two_level);
}

// The summary in JSON, metrics and the page.
TEST(event_abi, is_the_same_in_the_summary_and_in_its_row) {
  for (const auto* capture :
       {"pv", "pvh", "hvm-vector", "hvm-intx", "dom0", "arm", "old-kernel", "debug-rows",
        "moved-channels", "xenlinux-dom0", "pv-no-type", "pv-32bit-2level", "no-hyp-row"}) {
    const auto report = make_report(snapshot_of(capture), "", {});
    const auto is_row = [](const check_result& result) { return result.id == "event-abi"; };
    const auto row = std::ranges::find_if(report.check_results, is_row);
    ASSERT_NE(row, report.check_results.end()) << capture;
    EXPECT_EQ(report.guest.event_abi.empty(), row->verdict == health::unknown) << capture;
    if (row->verdict != health::unknown) {
      EXPECT_TRUE(row->summary.starts_with(report.guest.event_abi)) << capture << row->summary;
    }
  }
}

}  // namespace
}  // namespace xenpv::doctor
