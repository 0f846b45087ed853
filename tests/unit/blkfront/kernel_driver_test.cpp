#include "xenpv/blkfront/kernel_driver.hpp"

#include <gtest/gtest.h>

#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {
namespace {

using xen::test::fake_root;
constexpr const char* unbind = "/sys/bus/xen/drivers/vbd/unbind";

listed_device a_disk() {
  listed_device out;
  out.number = 51728;
  out.name = "xvdb";
  return out;
}

std::string failure_text(const fake_root& tree) {
  try {
    take_from_kernel(a_disk(), tree.root());
  } catch (const failure& problem) {
    return problem.what();
  }
  return "no failure";
}

TEST(take_from_kernel, unbinds_the_driver_from_a_disk_that_nobody_uses) {
  fake_root tree;
  tree.with(unbind).with("/proc/self/mountinfo", "22 1 202:1 / / rw - ext4 /dev/xvda1 rw\n");
  EXPECT_EQ(failure_text(tree), "no failure");
  EXPECT_EQ(tree.root().read(unbind), "vbd-51728");
}

TEST(take_from_kernel, refuses_a_disk_in_use_and_names_every_user) {
  fake_root tree;
  tree.with(unbind)
      .with("/proc/self/mountinfo", "23 1 202:17 / /srv rw - ext4 /dev/xvdb1 rw\n")
      .with("/proc/swaps", "Filename Type\n/dev/xvdb2 partition 8 0 -2\n");
  EXPECT_EQ(failure_text(tree),
            "take xvdb from the kernel: device or resource busy (it is mounted on /srv "
            "(/dev/xvdb1); used as swap (/dev/xvdb2))");
  EXPECT_EQ(tree.root().read(unbind), "") << "nothing was written";
}

TEST(take_from_kernel, says_what_is_missing_without_the_driver) {
  const fake_root tree;
  EXPECT_EQ(failure_text(tree), "take xvdb from the kernel: write " +
                                    tree.root().path(unbind).string() +
                                    ": no such file or directory (are you root?)");
}

}  // namespace
}  // namespace xenpv::blkfront
