// The custodian as a process. Pipes stand in for event-channel handles, because the custodian
// treats all file descriptors alike.
#include "xenpv/xen/custodian.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <latch>
#include <string>
#include <thread>
#include <utility>

#include "unit/xen/child.hpp"
#include "unit/xen/fake_root.hpp"
#include "unit/xen/pipe.hpp"
#include "xen/custodian_link.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::xen {
namespace {

using test::is_hung_up;
using test::make_pipe;
using test::read_all;
using test::send_signal;
using test::wait_status;
using testing::HasSubstr;

std::string text_of(const std::function<void()>& call, std::error_code expected) {
  try {
    call();
  } catch (const failure& e) {
    EXPECT_EQ(e.code(), expected);
    return e.what();
  }
  return "nothing was thrown";
}

std::string proc_text(pid_t process, const char* file) {
  std::ifstream in("/proc/" + std::to_string(process) + "/" + file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// KiB of locked memory.
unsigned long locked_memory(pid_t process) {
  const auto status = proc_text(process, "status");
  const auto at = status.find("VmLck:");
  return at == std::string::npos ? 0 : std::stoul(status.substr(at + 6));
}

/// A starter that fails from its second call on.
custodian_starter starts_once() {
  return [called = false]() mutable -> started_custodian {
    if (std::exchange(called, true))
      throw failure(errc::not_available, "start the custodian", "not again");
    return execute_custodian(custodian_program::find());
  };
}

TEST(custodian, has_no_privileges_and_filtered_system_calls) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's runtime needs more system calls";
#endif
  const auto c = custodian::start();
  const auto status = proc_text(c.process(), "status");
  for (const auto* const field : {"CapPrm", "CapEff", "CapInh", "CapAmb"})
    EXPECT_THAT(status, HasSubstr(std::string(field) + ":\t0000000000000000\n"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1\n"));
  EXPECT_THAT(status, HasSubstr("Seccomp:\t2\n"));
}

TEST(custodian, is_locked_in_memory_only_if_its_starter_is) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's address space is too large to be locked";
#endif
  {
    const auto c = custodian::start();
    EXPECT_EQ(locked_memory(c.process()), 0U);
  }
  if (::mlockall(MCL_FUTURE) != 0) GTEST_SKIP() << "CAP_IPC_LOCK is needed";
  auto c = custodian::start();
  EXPECT_GT(locked_memory(c.process()), 0U);
  // A replacement is a separate program.
  const auto first = c.process();
  ASSERT_TRUE(send_signal(first, SIGKILL));
  while (c.process() == first)
    static_cast<void>(c.revive());
  EXPECT_GT(locked_memory(c.process()), 0U);
  ::munlockall();
}

TEST(custodian, closes_its_duplicate_and_exits_on_a_clean_stop) {
  auto ends = make_pipe();
  pid_t process = -1;
  {
    auto c = custodian::start();
    process = c.process();
    static_cast<void>(c.keep(ends.write.get()));
    ends.write.reset();
    EXPECT_FALSE(is_hung_up(ends.read));
  }
  EXPECT_TRUE(is_hung_up(ends.read));
  EXPECT_FALSE(send_signal(process, 0));
  EXPECT_EQ(errno, ESRCH);
}

TEST(custodian, closes_the_duplicate_before_release_returns) {
  auto first = make_pipe();
  auto second = make_pipe();
  auto c = custodian::start();
  const auto id = c.keep(first.write.get());
  static_cast<void>(c.keep(second.write.get()));
  first.write.reset();
  second.write.reset();
  c.release(id);
  EXPECT_TRUE(is_hung_up(first.read));
  EXPECT_FALSE(is_hung_up(second.read));
  EXPECT_EQ(text_of([&] { c.release(id); }, errc::invalid_argument),
            "release a kept descriptor: invalid argument (no descriptor has id 1)");
}

TEST(custodian, keeps_running_after_a_clean_stop_if_there_was_a_resume) {
  auto before = make_pipe();
  auto after = make_pipe();
  pid_t process = -1;
  {
    auto c = custodian::start();
    process = c.process();
    const auto id = c.keep(before.write.get());
    c.resumed();
    static_cast<void>(c.keep(after.write.get()));
    before.write.reset();
    after.write.reset();
    c.release(id);
  }
  EXPECT_TRUE(is_hung_up(after.read));
  EXPECT_FALSE(is_hung_up(before.read));
  ASSERT_TRUE(send_signal(process, SIGKILL));
  const int status = wait_status(process);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_TRUE(is_hung_up(before.read));
}

TEST(custodian, stops_the_old_custodian_on_assignment) {
  auto ends = make_pipe();
  auto c = custodian::start();
  static_cast<void>(c.keep(ends.write.get()));
  ends.write.reset();
  auto other = custodian::start();
  const auto process = other.process();
  c = std::move(other);
  EXPECT_TRUE(is_hung_up(ends.read));
  EXPECT_EQ(c.process(), process);
  c.resumed();
}

TEST(custodian, inherits_no_descriptors_from_its_parent) {
  auto ends = make_pipe(0);
  auto c = custodian::start();
  ends.write.reset();
  EXPECT_TRUE(is_hung_up(ends.read));
}

TEST(custodian, has_its_own_name_and_session) {
  auto c = custodian::start();
  EXPECT_EQ(proc_text(c.process(), "comm"), "xenpv-custodian\n");
  EXPECT_EQ(::getsid(c.process()), c.process());
}

TEST(custodian, marks_itself_for_systemd_after_a_resume) {
  auto ends = make_pipe();
  pid_t process = -1;
  {
    auto c = custodian::start();
    process = c.process();
    static_cast<void>(c.keep(ends.write.get()));
    EXPECT_NE(proc_text(process, "cmdline").at(0), '@');
    c.resumed();
    EXPECT_EQ(proc_text(process, "cmdline").at(0), '@');
  }
  ASSERT_TRUE(send_signal(process, SIGKILL));
  wait_status(process);
}

TEST(custodian, ignores_termination_signals) {
  auto c = custodian::start();
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1}) {
    ASSERT_TRUE(send_signal(c.process(), number));
    EXPECT_NO_THROW(c.clear_cleanup("x")) << number;
  }
}

/// Kills the custodian and waits until it is dead, without reaping it.
void kill_dead(const custodian& c) {
  ASSERT_TRUE(send_signal(c.process(), SIGKILL));
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(c.process()), &info, WEXITED | WNOWAIT), 0);
}

std::ptrdiff_t descriptors_of(pid_t process) {
  const std::filesystem::directory_iterator first("/proc/" + std::to_string(process) + "/fd");
  return std::distance(first, std::filesystem::directory_iterator());
}

TEST(custodian, is_replaced_with_all_its_descriptors) {
  auto before = make_pipe();
  auto after = make_pipe();
  auto lock = make_pipe();
  testing::internal::CaptureStderr();
  pid_t second = -1;
  {
    auto c = custodian::start();
    const auto first = c.process();
    const auto at_start = descriptors_of(first);
    static_cast<void>(c.keep(before.write.get()));
    c.resumed();
    static_cast<void>(c.keep(after.write.get()));
    c.hold(lock.write.get());
    kill_dead(c);
    EXPECT_NO_THROW(c.clear_cleanup("xvdb"));
    second = c.process();
    EXPECT_NE(second, first);
    EXPECT_EQ(proc_text(second, "comm"), "xenpv-custodian\n");
    EXPECT_EQ(::getsid(second), second);
    EXPECT_EQ(descriptors_of(second), at_start + 3) << "two kept descriptors and a held one";
    EXPECT_EQ(proc_text(second, "cmdline").at(0), '@');
    before.write.reset();
    after.write.reset();
    lock.write.reset();
    EXPECT_THAT(
        testing::internal::GetCapturedStderr(),
        testing::AllOf(HasSubstr("custodian process " + std::to_string(first) +
                                 " exited (killed by signal 9)"),
                       HasSubstr("process " + std::to_string(second) + " is the new custodian")));
  }
  EXPECT_TRUE(is_hung_up(after.read));
  EXPECT_TRUE(is_hung_up(lock.read));
  EXPECT_FALSE(is_hung_up(before.read));
  ASSERT_TRUE(send_signal(second, SIGKILL));
  wait_status(second);
  EXPECT_TRUE(is_hung_up(before.read));
}

TEST(custodian, is_replaced_in_a_multi_threaded_process) {
  auto c = custodian::start();
  const auto first = c.process();
  std::thread other([&] {
    kill_dead(c);
    EXPECT_TRUE(c.revive());
  });
  other.join();
  EXPECT_NE(c.process(), first);
  EXPECT_TRUE(c.revive()) << "the custodian is alive";
}

TEST(custodian, passes_descriptors_kept_after_its_death_to_its_replacement) {
  auto ends = make_pipe();
  auto c = custodian::start();
  const auto at_start = descriptors_of(c.process());
  kill_dead(c);
  const auto id = c.keep(ends.write.get());
  ends.write.reset();
  EXPECT_EQ(descriptors_of(c.process()), at_start + 1);
  c.release(id);
  EXPECT_EQ(descriptors_of(c.process()), at_start);
  EXPECT_TRUE(is_hung_up(ends.read));
}

TEST(custodian, reports_a_hang_up_when_it_dies) {
  auto c = custodian::start();
  const auto end = c.end_descriptor();
  EXPECT_FALSE(is_hung_up(end));
  kill_dead(c);
  EXPECT_TRUE(is_hung_up(end));
}

TEST(custodian, works_with_a_non_blocking_socket) {
  auto ends = make_pipe();
  auto c = custodian::start();
  const auto end = c.end_descriptor();
  ASSERT_EQ(::fcntl(end.get(), F_SETFL, O_NONBLOCK), 0);
  for (int i = 0; i < 100; ++i)
    EXPECT_NO_THROW(c.release(c.keep(ends.write.get())));
}

TEST(custodian, accepts_calls_when_it_cannot_be_replaced) {
  auto before = make_pipe();
  auto after = make_pipe();
  testing::internal::CaptureStderr();
  {
    auto c = custodian::start(starts_once());
    static_cast<void>(c.keep(before.write.get()));
    before.write.reset();
    kill_dead(c);
    EXPECT_NO_THROW(c.set_cleanup("xvdb", {cleanup_write{"state", "6"}}));
    EXPECT_NO_THROW(c.clear_cleanup("xvdb"));
    EXPECT_NO_THROW(c.resumed());
    EXPECT_NO_THROW(c.hold(after.write.get()));
    const auto id = c.keep(after.write.get());
    after.write.reset();
    EXPECT_FALSE(is_hung_up(after.read));
    EXPECT_NO_THROW(c.release(id));
    EXPECT_FALSE(c.revive());
  }
  EXPECT_FALSE(is_hung_up(before.read)) << "closing it would trigger the kernel BUG";
  const auto messages = testing::internal::GetCapturedStderr();
  EXPECT_THAT(
      messages,
      HasSubstr("start the custodian: not available here (not again); without a custodian"));
}

TEST(custodian, rejects_release_of_an_unknown_descriptor_after_its_death) {
  auto c = custodian::start(starts_once());
  kill_dead(c);
  EXPECT_EQ(text_of([&] { c.release(custodian::kept_id(7)); }, errc::invalid_argument),
            "release a kept descriptor: invalid argument (no descriptor has id 7)");
}

TEST(custodian, starts_in_a_multi_threaded_process) {
  std::latch done(1);
  std::thread other([&] { done.wait(); });
  auto ends = make_pipe();
  {
    auto c = custodian::start();
    EXPECT_NO_THROW(c.release(c.keep(ends.write.get())));
  }
  done.count_down();
  other.join();
}

TEST(custodian, does_not_start_if_its_program_is_not_installed) {
  const test::scoped_variable nowhere("XENPV_CUSTODIAN", "/nonexistent/xenpv-custodian");
  EXPECT_EQ(text_of([] { static_cast<void>(custodian::start()); }, errc::not_available),
            "start the custodian: not available here (install xenpv-custodian in one of: "
            "/nonexistent/xenpv-custodian, or name it in XENPV_CUSTODIAN)");
}

TEST(custodian, rejects_an_invalid_descriptor) {
  auto c = custodian::start();
  EXPECT_EQ(text_of([&] { static_cast<void>(c.keep(-1)); },
                    std::error_code(EBADF, std::generic_category())),
            "keep descriptor -1: bad file descriptor");
}

TEST(custodian, reports_that_its_descriptor_table_is_full) {
  auto c = custodian::start();
  auto ends = make_pipe();
  // The limit suffices for the custodian's own descriptors and one kept descriptor.
  rlimit limit{};
  ASSERT_EQ(::prlimit(c.process(), RLIMIT_NOFILE, nullptr, &limit), 0);
  limit.rlim_cur = static_cast<rlim_t>(descriptors_of(c.process())) + 1;
  ASSERT_EQ(::prlimit(c.process(), RLIMIT_NOFILE, &limit, nullptr), 0);
  static_cast<void>(c.keep(ends.write.get()));
  EXPECT_EQ(text_of([&] { static_cast<void>(c.keep(ends.write.get())); }, errc::limit_reached),
            "keep descriptor " + std::to_string(ends.write.get()) +
                ": limit reached (the custodian's descriptor table is full: raise ulimit -n)");
}

TEST(custodian, rejects_an_oversized_cleanup) {
  auto c = custodian::start();
  const cleanup_write step{"state", std::string(70'000, 'x')};
  EXPECT_THAT(text_of([&] { c.set_cleanup("xvdb", {step}); }, errc::limit_reached),
              testing::MatchesRegex("register cleanup 'xvdb': limit reached "
                                    "\\(700[0-9][0-9] bytes, but the custodian accepts at most "
                                    "65536\\)"));
  EXPECT_NO_THROW(c.set_cleanup("xvdb", {cleanup_write{"state", std::string(60'000, 'x')}}));
  c.clear_cleanup("xvdb");
}

/// Logged when the custodian tries to run a cleanup without xenstored.
constexpr auto no_cleanup = "custodian: cannot run the cleanups: xenstore at ";

class without_xenstored : public testing::Test {
 private:
  const test::fake_root tree_;
  const test::scoped_variable directory_{"XENSTORED_RUNDIR", tree_.root().path("/run").string()};
  const test::scoped_variable path_{"XENSTORED_PATH", tree_.root().path("/run/xs").string()};
};
using custodian_clean_up = without_xenstored;

TEST_F(custodian_clean_up, runs_at_a_clean_stop) {
  testing::internal::CaptureStderr();
  {
    auto c = custodian::start();
    c.set_cleanup("xvdb", {cleanup_write{"state", "6"}});
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(no_cleanup));
}

TEST_F(custodian_clean_up, does_not_run_at_a_clean_stop_if_cleared) {
  testing::internal::CaptureStderr();
  {
    auto c = custodian::start();
    c.set_cleanup("xvdb", {cleanup_write{"state", "6"}});
    c.clear_cleanup("xvdb");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(custodian_clean_up, runs_once_on_request) {
  testing::internal::CaptureStderr();
  auto c = custodian::start();
  c.set_cleanup("xvdb", {cleanup_write{"state", "6"}});
  c.clean_up();
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(no_cleanup));
  testing::internal::CaptureStderr();
  { const auto end = std::move(c); }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(custodian_clean_up, runs_in_the_replacement_of_a_killed_custodian) {
  testing::internal::CaptureStderr();
  {
    auto c = custodian::start();
    c.set_cleanup("xvdb", {cleanup_write{"state", "6"}});
    kill_dead(c);
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(no_cleanup));
}

}  // namespace
}  // namespace xenpv::xen
