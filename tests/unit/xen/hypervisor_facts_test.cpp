// What only a real hypervisor answers: here, that nobody else is asked.
#include <gmock/gmock.h>

#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/cpuid.hpp"
#include "xenpv/xen/runstate.hpp"

namespace xenpv::xen {
namespace {

TEST(cpuid, is_not_asked_off_xen_nor_for_another_tree) {
  EXPECT_FALSE(read_cpuid(guest_type::none, system_root("/")));
  EXPECT_FALSE(read_cpuid(guest_type::xen_arm, system_root("/")));
  // The instruction a PV guest asks with would end this process off Xen.
  const test::fake_root tree;
  EXPECT_FALSE(read_cpuid(guest_type::pv, tree.root()));
  EXPECT_FALSE(read_cpuid(guest_type::pvh, tree.root()));
}

TEST(cpuid, of_a_processor_that_is_not_xens_has_no_leaves_of_it) {
  if (read_guest_facts(system_root("/")).runs_on_xen()) GTEST_SKIP() << "this is Xen";
  EXPECT_FALSE(read_cpuid(guest_type::hvm, system_root("/")));
}

TEST(runstate, of_a_captured_guest_cannot_be_asked_for) {
  const test::fake_root tree;
  try {
    (void)read_runstate(1, tree.root());
    FAIL() << "somebody answered";
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), errc::not_available);
    EXPECT_THAT(problem.what(), testing::StartsWith("ask the hypervisor what vCPU 1 did: "));
  }
}

TEST(runstate, of_a_while_is_the_difference) {
  using namespace std::chrono_literals;
  const auto of = vcpu_runstate{.running = 9ns, .runnable = 8ns, .blocked = 7ns, .offline = 6ns} -
                  vcpu_runstate{.running = 1ns, .runnable = 2ns, .blocked = 3ns, .offline = 4ns};
  EXPECT_EQ(of.running, 8ns);
  EXPECT_EQ(of.runnable, 6ns);
  EXPECT_EQ(of.blocked, 4ns);
  EXPECT_EQ(of.offline, 2ns);
}

}  // namespace
}  // namespace xenpv::xen
