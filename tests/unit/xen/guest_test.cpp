#include "xenpv/xen/guest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "unit/xen/fake_root.hpp"

namespace xenpv::xen {
namespace {

using test::fake_root;
using testing::ElementsAre;
using testing::IsEmpty;

void add_all_devices(fake_root& tree) {
  for (const char* name : {"evtchn", "gntalloc", "gntdev", "xenbus", "privcmd"})
    tree.with(std::string("/dev/xen/") + name);
}

TEST(guest_facts, are_empty_without_a_hypervisor_in_sysfs) {
  const fake_root tree;
  const auto facts = read_guest_facts(tree.root());
  EXPECT_EQ(facts.type, guest_type::none);
  EXPECT_FALSE(facts.runs_on_xen());
  EXPECT_EQ(facts.xen_version, std::nullopt);
  EXPECT_FALSE(facts.is_control_domain);
  EXPECT_EQ(facts.gntalloc_limit, std::nullopt);
  EXPECT_THAT(missing_device_cures(facts), IsEmpty());
}

TEST(guest_facts, ignore_other_hypervisors) {
  fake_root tree;
  tree.with("/sys/hypervisor/type", "s390\n").with("/sys/hypervisor/guest_type", "HVM\n");
  EXPECT_EQ(read_guest_facts(tree.root()).type, guest_type::none);
}

TEST(guest_facts, distinguish_the_guest_types) {
  const std::pair<std::string_view, guest_type> cases[] = {{"PV\n", guest_type::pv},
                                                           {"PVH\n", guest_type::pvh},
                                                           {"HVM\n", guest_type::hvm},
                                                           {"Xen\n", guest_type::xen_arm},
                                                           {"PVHVM\n", guest_type::unknown}};
  for (const auto& [text, expected] : cases) {
    fake_root tree;
    tree.with("/sys/hypervisor/type", "xen\n").with("/sys/hypervisor/guest_type", text);
    EXPECT_EQ(read_guest_facts(tree.root()).type, expected) << text;
  }
}

TEST(guest_facts, report_an_unknown_type_on_old_kernels) {
  fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n");
  const auto facts = read_guest_facts(tree.root());
  EXPECT_EQ(facts.type, guest_type::unknown);
  EXPECT_TRUE(facts.runs_on_xen());
}

TEST(guest_facts, contain_the_version) {
  fake_root tree;
  tree.with("/sys/hypervisor/version/major", "4\n")
      .with("/sys/hypervisor/version/minor", "17\n")
      .with("/sys/hypervisor/version/extra", ".7\n");
  EXPECT_EQ(read_guest_facts(tree.root()).xen_version, "4.17.7");
}

TEST(guest_facts, omit_denied_parts_of_the_version) {
  fake_root tree;
  tree.with("/sys/hypervisor/version/major", "4\n")
      .with("/sys/hypervisor/version/minor", "17\n")
      .with("/sys/hypervisor/version/extra", "<denied>\n");
  EXPECT_EQ(read_guest_facts(tree.root()).xen_version, "4.17");
  tree.with("/sys/hypervisor/version/major", "<denied>\n");
  EXPECT_EQ(read_guest_facts(tree.root()).xen_version, std::nullopt);
}

TEST(guest_facts, recognise_the_control_domain) {
  fake_root tree;
  tree.with("/proc/xen/capabilities", "");
  EXPECT_FALSE(read_guest_facts(tree.root()).is_control_domain);
  tree.with("/proc/xen/capabilities", "control_d\n");
  EXPECT_TRUE(read_guest_facts(tree.root()).is_control_domain);
}

TEST(guest_facts, read_the_gntalloc_limit) {
  fake_root tree;
  tree.with("/sys/module/xen_gntalloc/parameters/limit", "1024\n");
  EXPECT_EQ(read_guest_facts(tree.root()).gntalloc_limit, 1024U);
  tree.with("/sys/module/xen_gntalloc/parameters/limit", "many\n");
  EXPECT_EQ(read_guest_facts(tree.root()).gntalloc_limit, std::nullopt);
}

TEST(guest_facts, list_the_devices_with_their_modules) {
  fake_root tree;
  tree.with("/dev/xen/evtchn").with("/sys/hypervisor/type", "xen\n");
  const auto facts = read_guest_facts(tree.root());
  ASSERT_EQ(facts.devices.size(), 5U);
  const auto* evtchn = facts.device("/dev/xen/evtchn");
  ASSERT_NE(evtchn, nullptr);
  EXPECT_TRUE(evtchn->present);
  EXPECT_TRUE(evtchn->accessible);
  EXPECT_EQ(evtchn->module, "xen-evtchn");
  const auto* gntalloc = facts.device("/dev/xen/gntalloc");
  ASSERT_NE(gntalloc, nullptr);
  EXPECT_FALSE(gntalloc->present);
  EXPECT_FALSE(gntalloc->accessible);
  EXPECT_EQ(facts.device("/dev/null"), nullptr);
}

TEST(guest_facts, distinguish_present_from_accessible) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to drop privileges";
  fake_root tree;
  tree.with("/dev/xen/evtchn");
  std::filesystem::permissions(tree.root().path("/dev/xen/evtchn"), std::filesystem::perms(0600));
  ASSERT_EQ(::seteuid(65534), 0);
  const auto facts = read_guest_facts(tree.root());
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_TRUE(facts.device("/dev/xen/evtchn")->present);
  EXPECT_FALSE(facts.device("/dev/xen/evtchn")->accessible);
}

TEST(missing_device_cures, are_shell_commands_in_a_fixed_order) {
  fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n").with("/dev/xen/gntdev").with("/dev/xen/privcmd");
  EXPECT_THAT(missing_device_cures(read_guest_facts(tree.root())),
              ElementsAre("modprobe xen-evtchn", "modprobe xen-gntalloc",
                          "modprobe xenfs && mount -t xenfs xenfs /proc/xen"));
}

TEST(missing_device_cures, are_none_when_all_devices_exist) {
  fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n");
  add_all_devices(tree);
  EXPECT_THAT(missing_device_cures(read_guest_facts(tree.root())), IsEmpty());
}

TEST(guest_type, prints_like_sysfs) {
  EXPECT_EQ(to_string(guest_type::pvh), "PVH");
  EXPECT_EQ(to_string(guest_type::xen_arm), "Xen");
  EXPECT_EQ(to_string(guest_type::none), "none");
}

}  // namespace
}  // namespace xenpv::xen
