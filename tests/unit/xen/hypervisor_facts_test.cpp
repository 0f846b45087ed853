// Facts that only a real hypervisor provides. They must not be requested anywhere else.
#include <gmock/gmock.h>

#include "unit/xen/fake_root.hpp"
#include "xen/cpuid.hpp"
#include "xen/runstate.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::xen {
namespace {

TEST(cpuid, is_not_read_outside_xen_or_for_another_tree) {
  EXPECT_FALSE(read_cpuid(guest_type::none, system_root("/")));
  EXPECT_FALSE(read_cpuid(guest_type::xen_arm, system_root("/")));
  // Outside Xen, the CPUID instruction for PV guests would kill this process.
  const test::fake_root tree;
  EXPECT_FALSE(read_cpuid(guest_type::pv, tree.root()));
  EXPECT_FALSE(read_cpuid(guest_type::pvh, tree.root()));
}

TEST(cpuid, has_no_xen_leaves_outside_xen) {
  if (read_guest_facts(system_root("/")).runs_on_xen()) GTEST_SKIP() << "this machine runs on Xen";
  EXPECT_FALSE(read_cpuid(guest_type::hvm, system_root("/")));
}

TEST(runstate, of_a_captured_guest_cannot_be_read) {
  const test::fake_root tree;
  try {
    (void)read_runstate(1, tree.root());
    FAIL() << "expected a failure";
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), errc::not_available);
    EXPECT_THAT(problem.what(), testing::StartsWith("read the run state of vCPU 1: "));
  }
}

TEST(runstate, over_a_period_is_the_difference) {
  using namespace std::chrono_literals;
  const auto difference =
      vcpu_runstate{.running = 9ns, .runnable = 8ns, .blocked = 7ns, .offline = 6ns} -
      vcpu_runstate{.running = 1ns, .runnable = 2ns, .blocked = 3ns, .offline = 4ns};
  EXPECT_EQ(difference.running, 8ns);
  EXPECT_EQ(difference.runnable, 6ns);
  EXPECT_EQ(difference.blocked, 4ns);
  EXPECT_EQ(difference.offline, 2ns);
}

}  // namespace
}  // namespace xenpv::xen
