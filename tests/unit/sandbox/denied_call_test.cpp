#include "sandbox/denied_call.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cstring>

#include "sandbox/call_names.hpp"

namespace xenpv::sandbox {
namespace {

denied_call make_call(std::int32_t number, std::uint64_t first = 0, std::uint64_t second = 0) {
  denied_call out{number, 4711, {}, {first, second, 0}};
  std::strcpy(out.thread_name.data(), "xenpv-cpu0");
  return out;
}

TEST(denial_log, names_the_call_the_thread_and_the_remedy) {
  denial_log log(true);
  EXPECT_EQ(log.add(make_call(257), "openat").value(),
            "sandbox: denied the system call openat (257) of thread 4711 (xenpv-cpu0), which this "
            "program should not need; please report this line (--sandbox=log permits such calls)");
}

TEST(denial_log, says_that_it_only_logs) {
  denial_log log(false);
  auto call = make_call(257);
  call.thread_name = {};
  EXPECT_EQ(
      log.add(call, "openat").value(),
      "sandbox: would deny the system call openat (257) of thread 4711; please report this line");
}

TEST(denial_log, reports_a_call_once) {
  denial_log log(true);
  EXPECT_TRUE(log.add(make_call(257, 1), "openat"));
  EXPECT_FALSE(log.add(make_call(257, 2), "openat"));
  EXPECT_TRUE(log.add(make_call(59), "execve"));
}

TEST(denial_log, reports_each_request_of_an_ioctl_up_to_a_limit) {
  denial_log log(true);
  EXPECT_NE(log.add(make_call(16, 3, 0x5421), "ioctl").value().find("ioctl (16, request 0x5421)"),
            std::string::npos);
  EXPECT_FALSE(log.add(make_call(16, 4, 0x5421), "ioctl"));
  unsigned reported = 1;
  for (std::uint64_t request = 1; request < 100; ++request)
    reported += log.add(make_call(16, 3, request), "ioctl") ? 1U : 0U;
  EXPECT_EQ(reported, 8);
}

TEST(denial_log, reports_a_call_without_a_name) {
  denial_log log(true);
  EXPECT_NE(log.add(make_call(1000), "").value().find("system call unknown (1000)"),
            std::string::npos);
}

TEST(denial_log, ends_a_thread_name_that_is_not_terminated) {
  denial_log log(true);
  auto call = make_call(1);
  call.thread_name.fill('x');
  EXPECT_NE(log.add(call, "write").value().find("(xxxxxxxxxxxxxxxx),"), std::string::npos);
}

TEST(call_names, knows_the_calls_of_this_architecture) {
  const call_names names;
  EXPECT_EQ(names.find(SYS_openat), "openat");
  EXPECT_EQ(names.find(SYS_clone3), "clone3");
  EXPECT_EQ(names.find(-1), "");
  EXPECT_EQ(names.find(names.highest() + 1), "");
  EXPECT_GE(names.highest(), SYS_clone3);
}

}  // namespace
}  // namespace xenpv::sandbox
