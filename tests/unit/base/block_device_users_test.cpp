#include "base/block_device_users.hpp"

#include <gmock/gmock.h>

#include <unistd.h>

#include <filesystem>

#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using xen::test::fake_root;

/// Adds a process that has `target` open.
void add_process(fake_root& tree, const std::string& pid, const std::string& name,
                 const std::string& target) {
  tree.with("/proc/" + pid + "/comm", name + "\n");
  const auto fds = tree.root().path("/proc/" + pid + "/fd");
  fs::create_directories(fds);
  fs::create_symlink("/dev/null", fds / "0");
  fs::create_symlink(target, fds / "3");
}

TEST(block_device_users, are_none_without_proc_and_sys) {
  const fake_root tree;
  EXPECT_THAT(block_device_users("xvdb", tree.root()), ElementsAre());
}

TEST(block_device_users, include_mounts_of_the_device_and_its_partitions) {
  fake_root tree;
  tree.with("/proc/self/mountinfo",
            "36 35 0:99 / / rw shared:1 - ext4 /dev/xvda1 rw\n"
            "36 35 0:99 / /srv rw shared:1 - ext4 /dev/xvdb rw\n"
            "36 35 0:99 / /srv/with\\040blanks rw shared:1 - xfs /dev/xvdb2 rw\n"
            "36 35 0:99 / /other rw shared:1 - ext4 /dev/xvdbc rw\n"
            "36 35 0:99 / /proc rw shared:1 - proc proc rw\n");
  EXPECT_THAT(
      block_device_users("xvdb", tree.root()),
      ElementsAre("mounted on /srv (/dev/xvdb)", "mounted on /srv/with blanks (/dev/xvdb2)"));
}

TEST(block_device_users, include_mounts_under_other_names) {
  fake_root tree;
  tree.with("/sys/block/xvdb/dev", "202:16\n")
      .with("/sys/block/xvdb/xvdb1/dev", "202:17\n")
      .with("/sys/block/xvdb/queue/dev", "")
      .with(
          "/proc/self/mountinfo",
          "22 1 202:17 / / rw - ext4 /dev/root rw\n"
          "23 1 202:16 /home /home rw,noatime shared:1 master:2 - xfs /dev/disk/by-label/home rw\n"
          "24 1 202:1 / /other rw - ext4 /dev/root rw\n"
          "25 1 0:45 /sub /data rw - btrfs /dev/xvdb1 rw\n"
          "26 1 202:18\n");
  EXPECT_THAT(block_device_users("xvdb", tree.root()),
              ElementsAre("mounted on / (/dev/root)", "mounted on /home (/dev/disk/by-label/home)",
                          "mounted on /data (/dev/xvdb1)"));
}

TEST(block_device_users, include_swap) {
  fake_root tree;
  tree.with("/proc/swaps",
            "Filename\t\t\tType\t\tSize\tUsed\tPriority\n"
            "/dev/xvdb1                              partition\t1048572\t0\t-2\n");
  EXPECT_THAT(block_device_users("xvdb", tree.root()), ElementsAre("used as swap (/dev/xvdb1)"));
}

TEST(block_device_users, include_stacked_devices) {
  fake_root tree;
  tree.with("/sys/block/xvdb/size", "8\n");
  fs::create_directories(tree.root().path("/sys/block/xvdb/holders/dm-0"));
  fs::create_directories(tree.root().path("/sys/block/xvdb/xvdb1/holders/md127"));
  fs::create_directories(tree.root().path("/sys/block/xvdc/holders/dm-1"));
  EXPECT_THAT(block_device_users("xvdb", tree.root()),
              ElementsAre("part of dm-0", "part of md127"));
}

TEST(block_device_users, include_processes_with_the_device_open) {
  fake_root tree;
  add_process(tree, "812", "postgres", "/dev/xvdb1");
  add_process(tree, "813", "sh", "/dev/xvdc");
  tree.with("/proc/meminfo", "");
  tree.with("/proc/self/mountinfo", "36 35 0:99 / /srv rw shared:1 - ext4 /dev/xvdb2 rw\n");
  EXPECT_THAT(block_device_openers("xvdb", tree.root()),
              ElementsAre("open in process 812 (postgres)"));
  EXPECT_THAT(block_device_holders("xvdb", tree.root()),
              ElementsAre("mounted on /srv (/dev/xvdb2)"));
  EXPECT_THAT(block_device_users("xvdb", tree.root()),
              ElementsAre("mounted on /srv (/dev/xvdb2)", "open in process 812 (postgres)"));
}

TEST(block_device_users, include_partitions_of_a_device_whose_name_ends_in_a_digit) {
  fake_root tree;
  tree.with("/proc/self/mountinfo",
            "36 35 0:99 / /part rw shared:1 - ext4 /dev/nbd1p2 rw\n"
            "36 35 0:99 / /other rw shared:1 - ext4 /dev/nbd10 rw\n"
            "36 35 0:99 / /more rw shared:1 - ext4 /dev/nbd12p1 rw\n"
            "36 35 0:99 / /odd rw shared:1 - ext4 /dev/nbd1p rw\n"
            "36 35 0:99 / /whole rw shared:1 - ext4 /dev/nbd1 rw\n");
  EXPECT_THAT(block_device_users("nbd1", tree.root()),
              ElementsAre("mounted on /part (/dev/nbd1p2)", "mounted on /whole (/dev/nbd1)"));
}

TEST(block_device_users, include_loop_devices) {
  fake_root tree;
  tree.with("/sys/block/loop0/loop/backing_file", "/dev/xvdb\n")
      .with("/sys/block/loop1/loop/backing_file", "/dev/xvdb2\n")
      .with("/sys/block/loop2/loop/backing_file", "/dev/xvdbc\n")
      .with("/sys/block/loop3/loop/backing_file", "/srv/disk.img\n")
      .with("/sys/block/loop4/loop/backing_file", "/dev/xvdb1 (deleted)\n")
      .with("/sys/block/loop5/size", "0\n");
  EXPECT_THAT(block_device_holders("xvdb", tree.root()),
              ElementsAre("used by loop0 (/dev/xvdb)", "used by loop1 (/dev/xvdb2)",
                          "used by loop4 (/dev/xvdb1)"));
}

TEST(xen_block_device, returns_the_kernel_name) {
  fake_root tree;
  EXPECT_EQ(xen_block_device("vbd-768", tree.root()), std::nullopt);
  fs::create_directories(tree.root().path("/sys/bus/xen/devices/vbd-768/block"));
  EXPECT_EQ(xen_block_device("vbd-768", tree.root()), std::nullopt) << "not connected yet";
  tree.with("/sys/bus/xen/devices/vbd-768/block/xvda/dev", "202:0\n");
  EXPECT_EQ(xen_block_device("vbd-768", tree.root()), "xvda");
}

std::string claim_problem(const fake_root& tree, unique_fd* claim = nullptr) {
  try {
    auto out = claim_block_device("take xvdb", "xvdb", tree.root());
    EXPECT_TRUE(out);
    if (claim != nullptr) *claim = std::move(out);
  } catch (const failure& problem) {
    return problem.what();
  }
  return "";
}

TEST(claim_block_device, opens_an_unused_device) {
  fake_root tree;
  tree.with("/dev/xvdb");
  unique_fd claim;
  EXPECT_EQ(claim_problem(tree, &claim), "");
  EXPECT_TRUE(claim);
}

TEST(claim_block_device, does_not_count_descriptors_of_this_process) {
  fake_root tree;
  tree.with("/dev/xvdb");
  add_process(tree, std::to_string(::getpid()), "us", "/dev/xvdb");
  EXPECT_EQ(claim_problem(tree), "");
  add_process(tree, "1", "them", "/dev/xvdb");
  EXPECT_EQ(claim_problem(tree),
            "take xvdb: device or resource busy (it is open in process 1 (them))");
}

TEST(claim_block_device, fails_if_the_users_cannot_be_seen) {
  fake_root tree;
  tree.with("/dev/xvdb");
  // CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE
  tree.with("/proc/self/status", "Name:\tx\nCapEff:\t0000000000080004\n");
  EXPECT_EQ(claim_problem(tree), "");
  for (const auto* const without : {"0000000000000004", "0000000000080000", "0000000000000000"}) {
    tree.with("/proc/self/status", std::string("CapEff:\t") + without + "\n");
    EXPECT_EQ(claim_problem(tree),
              "take xvdb: operation not permitted (cannot determine the users of the device "
              "without CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; are you root?)");
  }
}

TEST(claim_block_device, names_the_users_that_prevent_the_claim) {
  fake_root tree;
  tree.with("/dev/xvdb")
      .with("/proc/swaps", "Filename Type\n/dev/xvdb2 partition 8 0 -2\n")
      .with("/sys/block/loop0/loop/backing_file", "/dev/xvdb\n");
  EXPECT_EQ(claim_problem(tree),
            "take xvdb: device or resource busy (it is used as swap (/dev/xvdb2); used by loop0 "
            "(/dev/xvdb))");
}

TEST(claim_block_device, fails_for_a_device_without_a_node) {
  const fake_root tree;
  EXPECT_EQ(
      claim_problem(tree),
      "take xvdb: open " + tree.root().path("/dev/xvdb").string() +
          ": no such file or directory (the device must be opened to check whether it is in use)");
}

}  // namespace
}  // namespace xenpv
