#include "xenpv/base/block_device_users.hpp"

#include <gmock/gmock.h>

#include <filesystem>

#include "unit/xen/fake_root.hpp"

namespace xenpv {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using xen::test::fake_root;

/// A process that has `target` open.
void add_process(fake_root& tree, const std::string& pid, const std::string& name,
                 const std::string& target) {
  tree.with("/proc/" + pid + "/comm", name + "\n");
  const auto fds = tree.root().path("/proc/" + pid + "/fd");
  fs::create_directories(fds);
  fs::create_symlink("/dev/null", fds / "0");
  fs::create_symlink(target, fds / "3");
}

TEST(block_device_users, are_none_on_a_machine_that_says_nothing) {
  const fake_root tree;
  EXPECT_THAT(block_device_users("xvdb", tree.root()), ElementsAre());
}

TEST(block_device_users, mount_it_or_a_partition) {
  fake_root tree;
  tree.with("/proc/mounts",
            "/dev/xvda1 / ext4 rw 0 0\n"
            "/dev/xvdb /srv ext4 rw 0 0\n"
            "/dev/xvdb2 /srv/with\\040blanks xfs rw 0 0\n"
            "/dev/xvdbc /other ext4 rw 0 0\n"
            "proc /proc proc rw 0 0\n");
  EXPECT_THAT(
      block_device_users("xvdb", tree.root()),
      ElementsAre("mounted on /srv (/dev/xvdb)", "mounted on /srv/with blanks (/dev/xvdb2)"));
}

TEST(block_device_users, swap_to_it) {
  fake_root tree;
  tree.with("/proc/swaps",
            "Filename\t\t\tType\t\tSize\tUsed\tPriority\n"
            "/dev/xvdb1                              partition\t1048572\t0\t-2\n");
  EXPECT_THAT(block_device_users("xvdb", tree.root()), ElementsAre("used as swap (/dev/xvdb1)"));
}

TEST(block_device_users, are_other_devices_made_of_it) {
  fake_root tree;
  tree.with("/sys/block/xvdb/size", "8\n");
  fs::create_directories(tree.root().path("/sys/block/xvdb/holders/dm-0"));
  fs::create_directories(tree.root().path("/sys/block/xvdb/xvdb1/holders/md127"));
  fs::create_directories(tree.root().path("/sys/block/xvdc/holders/dm-1"));
  EXPECT_THAT(block_device_users("xvdb", tree.root()),
              ElementsAre("part of dm-0", "part of md127"));
}

TEST(block_device_users, are_processes_that_have_it_open) {
  fake_root tree;
  add_process(tree, "812", "postgres", "/dev/xvdb1");
  add_process(tree, "813", "sh", "/dev/xvdc");
  tree.with("/proc/meminfo", "");
  tree.with("/proc/mounts", "/dev/xvdb2 /srv ext4 rw 0 0\n");
  EXPECT_THAT(block_device_openers("xvdb", tree.root()),
              ElementsAre("open in process 812 (postgres)"));
  EXPECT_THAT(block_device_holders("xvdb", tree.root()),
              ElementsAre("mounted on /srv (/dev/xvdb2)"));
  EXPECT_THAT(block_device_users("xvdb", tree.root()),
              ElementsAre("mounted on /srv (/dev/xvdb2)", "open in process 812 (postgres)"));
}

TEST(block_device_users, know_a_partition_of_a_name_that_ends_in_a_digit) {
  fake_root tree;
  tree.with("/proc/mounts",
            "/dev/nbd1p2 /part ext4 rw 0 0\n"
            "/dev/nbd10 /other ext4 rw 0 0\n"
            "/dev/nbd12p1 /more ext4 rw 0 0\n"
            "/dev/nbd1p /odd ext4 rw 0 0\n"
            "/dev/nbd1 /whole ext4 rw 0 0\n");
  EXPECT_THAT(block_device_users("nbd1", tree.root()),
              ElementsAre("mounted on /part (/dev/nbd1p2)", "mounted on /whole (/dev/nbd1)"));
}

}  // namespace
}  // namespace xenpv
