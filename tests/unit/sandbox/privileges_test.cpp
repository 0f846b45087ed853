#include "sandbox/privileges.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/pipe.hpp"
#include "confined_child.hpp"
#include "waiting_thread.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sandbox {
namespace {

using testing::HasSubstr;

#define XENPV_NEEDS_ROOT() \
  if (::geteuid() != 0) GTEST_SKIP() << "needs root"

const std::string status_text =
    "Name:\txenpv-disk\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t100\nNgid:\t0\nPid:\t101\n"
    "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t5 20 30 \n"
    "CapInh:\t0000000000000001\nCapPrm:\t0000000000000002\nCapEff:\t000001ffffffffff\n"
    "CapBnd:\t0000000000000004\nCapAmb:\t0000000000000008\n"
    "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

TEST(parse_status, reads_all_fields) {
  const auto status = parse_status(status_text);
  EXPECT_EQ(status.thread, 101);
  EXPECT_EQ(status.real_uid, 1);
  EXPECT_EQ(status.effective_uid, 2);
  EXPECT_EQ(status.saved_uid, 3);
  EXPECT_EQ(status.filesystem_uid, 4);
  EXPECT_EQ(status.real_gid, 5);
  EXPECT_EQ(status.effective_gid, 6);
  EXPECT_EQ(status.saved_gid, 7);
  EXPECT_EQ(status.filesystem_gid, 8);
  EXPECT_EQ(status.groups, (std::vector<gid_t>{5, 20, 30}));
  EXPECT_EQ(status.inheritable, capability_set{CAP_CHOWN});
  EXPECT_EQ(status.permitted, capability_set{CAP_DAC_OVERRIDE});
  EXPECT_EQ(status.effective.bits(), 0x1ff'ffff'ffff);
  EXPECT_EQ(status.bounding, capability_set{CAP_DAC_READ_SEARCH});
  EXPECT_EQ(status.ambient, capability_set{CAP_FOWNER});
  EXPECT_TRUE(status.no_new_privileges);
  EXPECT_EQ(status.seccomp_mode, 2);
}

TEST(parse_status, accepts_no_groups_and_a_kernel_without_seccomp) {
  auto text = status_text;
  text.replace(text.find("5 20 30 "), 8, "");
  text.erase(text.find("Seccomp:"));
  const auto status = parse_status(text);
  EXPECT_TRUE(status.groups.empty());
  EXPECT_EQ(status.seccomp_mode, 0);
}

TEST(parse_status, refuses_a_missing_or_malformed_field) {
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"Uid:\t1\t2\t3\t4", "Uid:\t1\t2\t3"},
      {"Uid:\t1\t2\t3\t4", "Uid:\t1\t2\tx\t4"},
      {"Uid:\t1\t2\t3\t4", "Uid:\t1\t2\t3\t4294967296"},
      {"CapEff:", "CapXXX:"},
      {"CapAmb:\t0000000000000008", "CapAmb:\tz"},
      {"NoNewPrivs:\t1", "NoNewPrivs:\t"}};
  for (const auto& [from, to] : changes) {
    auto text = status_text;
    text.replace(text.find(from), from.size(), to);
    EXPECT_THROW(static_cast<void>(parse_status(text)), failure) << to;
  }
  EXPECT_THROW(static_cast<void>(parse_status("")), failure);
}

TEST(users, are_found_by_name) {
  const auto root = find_user("root");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->uid, 0);
  EXPECT_THAT(root->groups, testing::Contains(root->gid));
  EXPECT_FALSE(find_user("no-such-user-of-xenpv"));
  EXPECT_EQ(find_group("root"), 0);
  EXPECT_FALSE(find_group("no-such-group-of-xenpv"));
}

TEST(drop_privileges, leaves_nothing_on_any_thread) {
  XENPV_NEEDS_ROOT();
  const auto end = run_in_child([] {
    const auto nobody = find_user("nobody").value();
    const waiting_thread first([] {});
    const waiting_thread second([] {}, signal_mask::all);
    const auto summary = drop_privileges(nobody);
    require(summary.uid == nobody.uid, "the summary has the user");
    require(summary.effective.empty(), "the summary has no capabilities");
    require(summary.bounding_set_dropped, "the bounding set is dropped");
    const auto threads = read_privileges();
    require(threads.size() == 3, "there are three threads");
    for (const auto& thread : threads) {
      for (const auto uid :
           {thread.real_uid, thread.effective_uid, thread.saved_uid, thread.filesystem_uid})
        require(uid == nobody.uid, "all user IDs have changed");
      for (const auto gid :
           {thread.real_gid, thread.effective_gid, thread.saved_gid, thread.filesystem_gid})
        require(gid == nobody.gid, "all group IDs have changed");
      require(thread.groups == nobody.groups, "the supplementary groups have changed");
      for (const auto set : {thread.inheritable, thread.permitted, thread.effective,
                             thread.bounding, thread.ambient})
        require(set.empty(), "all capability sets are empty");
      require(thread.no_new_privileges, "no_new_privs is set");
    }
    require_error(::setuid(0), EPERM, "setuid(0)");
    require_error(::open("/etc/shadow", O_RDONLY), EACCES, "open(/etc/shadow)");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(drop_privileges, keeps_the_user_but_no_capabilities_without_an_identity) {
  XENPV_NEEDS_ROOT();
  const auto end = run_in_child([] {
    const waiting_thread other([] {}, signal_mask::all);
    require(drop_privileges(std::nullopt).uid == 0, "the user stays root");
    for (const auto& thread : read_privileges())
      require(thread.effective.empty() && thread.permitted.empty() && thread.bounding.empty(),
              "all capabilities are dropped");
    require_error(::chroot("/"), EPERM, "chroot");
    // Without no_new_privs and an empty bounding set, a program executed by root has them all.
    const auto child = ::fork();
    if (child == 0) {
      ::execl("/bin/sh", "sh", "-c", "grep -q 'CapEff:.0000000000000000' /proc/self/status",
              nullptr);
      ::_exit(127);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "execve(2) does not restore them");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(drop_privileges, keeps_listed_capabilities) {
  XENPV_NEEDS_ROOT();
  const auto end = run_in_child([] {
    constexpr capability_set kept{CAP_NET_ADMIN, CAP_SYS_ADMIN};
    const auto summary = drop_privileges(std::nullopt, kept);
    require((summary.effective.bits() & ~kept.bits()) == 0, "no other capability is kept");
    const auto status = read_privileges().front();
    require(status.effective == summary.effective && status.permitted == summary.effective,
            "the summary is right");
    require((status.bounding.bits() & ~kept.bits()) == 0, "the bounding set has no others");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(drop_privileges, refuses_capabilities_for_another_user) {
  const user anybody{"anybody", 12345, 12345, {12345}};
  EXPECT_THROW(drop_privileges(anybody, {CAP_NET_ADMIN}), failure);
}

TEST(drop_privileges, works_without_root_for_the_same_user) {
  XENPV_NEEDS_ROOT();
  const auto end = run_in_child([] {
    const auto nobody = find_user("nobody").value();
    require(::setgroups(0, nullptr) == 0 && ::setresgid(nobody.gid, nobody.gid, nobody.gid) == 0 &&
                ::setresuid(nobody.uid, nobody.uid, nobody.uid) == 0,
            "become nobody");
    const auto summary = drop_privileges(nobody);
    require(!summary.bounding_set_dropped, "the bounding set cannot be dropped");
    require(read_privileges().front().no_new_privileges, "no_new_privs is set");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(drop_privileges, fails_without_root_for_another_user) {
  XENPV_NEEDS_ROOT();
  const auto end = run_in_child([] {
    require(::setresuid(12345, 12345, 12345) == 0, "become another user");
    try {
      drop_privileges(find_user("nobody").value());
      require(false, "refused");
    } catch (const failure& problem) {
      const std::string text = problem.what();
      require(text.starts_with("become the user 'nobody' (") &&
                  text.ends_with("): operation not permitted (root is needed)"),
              text);
    }
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(hide_memory, forbids_core_dumps_and_access_by_the_same_user) {
  XENPV_NEEDS_ROOT();
  const auto end = run_in_child([] {
    drop_privileges(find_user("nobody").value());  // hides the memory last
    require(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0, "the process is not dumpable");
    rlimit limit{};
    require(::getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0, "no core dumps");
    const auto path = "/proc/" + std::to_string(::getpid()) + "/mem";
    const auto child = ::fork();
    if (child == 0) ::_exit(::open(path.c_str(), O_RDONLY) == -1 && errno == EACCES ? 0 : 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "another process cannot read it");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(verify_privileges, detects_a_thread_with_capabilities) {
  XENPV_NEEDS_ROOT();
  const auto end = run_in_child([] {
    try {
      verify_privileges(0);
      require(false, "capabilities are detected");
    } catch (const failure& problem) {
      require(std::string(problem.what()).find("still has capabilities") != std::string::npos,
              problem.what());
    }
    try {
      verify_privileges(1);
      require(false, "the user is detected");
    } catch (const failure& problem) {
      require(std::string(problem.what()).find("still has another user") != std::string::npos,
              problem.what());
    }
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

}  // namespace
}  // namespace xenpv::sandbox
