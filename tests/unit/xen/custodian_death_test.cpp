// File descriptors and cleanups after a custodian's main process was killed.
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <csignal>
#include <functional>
#include <stdexcept>

#include "unit/xen/child.hpp"
#include "unit/xen/fake_root.hpp"
#include "unit/xen/pipe.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::xen {
namespace {

using test::is_hung_up;
using test::make_pipe;
using test::read_all;
using test::send_signal;
using test::wait_status;

/// Only ends tests that hang: other tests do not wait this long.
constexpr int hang_limit_ms = 20'000;

/// fork(2) without the C library: ThreadSanitizer intercepts fork() and starts a thread in the
/// child.
pid_t bare_fork() {
  return static_cast<pid_t>(::syscall(SYS_clone, static_cast<unsigned long>(SIGCHLD), nullptr,
                                      nullptr, nullptr, nullptr));
}

/// Runs `body` in a separate main process, which then sleeps until it is killed. The custodian of
/// that process then becomes a child of the test. `errors_` receives the stderr of both processes.
class custodian_of_a_killed_main : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0); }
  void TearDown() override {
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    if (main_ > 0) kill_main();
  }

  /// Returns the custodian's PID after `body` has returned.
  pid_t run_main(const std::function<void(custodian&)>& body) {
    auto report = make_pipe();
    auto stderr_pipe = make_pipe();
    main_ = bare_fork();
    if (main_ < 0) throw_errno("fork a main process");
    if (main_ == 0) {
      ::dup2(stderr_pipe.write.get(), STDERR_FILENO);
      try {
        auto c = custodian::start();
        body(c);
        const pid_t process = c.process();
        if (::write(report.write.get(), &process, sizeof(process)) != sizeof(process)) ::_exit(1);
        for (;;)
          ::pause();
      } catch (const std::exception& e) {
        ::dprintf(STDERR_FILENO, "%s\n", e.what());
        ::_exit(1);
      }
    }
    report.write.reset();
    stderr_pipe.write.reset();
    errors_ = std::move(stderr_pipe.read);
    pid_t process = -1;
    if (::read(report.read.get(), &process, sizeof(process)) !=
        static_cast<ssize_t>(sizeof(process)))
      throw std::runtime_error("the main process failed: " + read_all(errors_));
    return process;
  }

  void kill_main() {
    ASSERT_TRUE(send_signal(main_, SIGKILL));
    wait_status(main_);
    main_ = -1;
  }

  unique_fd errors_;

 private:
  pid_t main_ = -1;
};

TEST_F(custodian_of_a_killed_main, closes_descriptors_and_exits_without_a_resume) {
  auto ends = make_pipe();
  const auto process = run_main([&](custodian& c) {
    static_cast<void>(c.keep(ends.write.get()));
    ends.write.reset();
  });
  ends.write.reset();
  EXPECT_FALSE(is_hung_up(ends.read));
  kill_main();
  EXPECT_TRUE(is_hung_up(ends.read, hang_limit_ms));
  EXPECT_EQ(wait_status(process), 0);
}

TEST_F(custodian_of_a_killed_main, releases_a_lock_even_if_it_keeps_running) {
  auto lock = make_pipe();
  auto handle = make_pipe();
  const auto process = run_main([&](custodian& c) {
    c.hold(lock.write.get());
    static_cast<void>(c.keep(handle.write.get()));
    c.resumed();
    lock.write.reset();
    handle.write.reset();
  });
  lock.write.reset();
  handle.write.reset();
  EXPECT_FALSE(is_hung_up(lock.read));
  kill_main();
  EXPECT_TRUE(is_hung_up(lock.read, hang_limit_ms));
  EXPECT_FALSE(is_hung_up(handle.read));
  ASSERT_TRUE(send_signal(process, SIGKILL));
  wait_status(process);
}

TEST_F(custodian_of_a_killed_main, keeps_descriptors_from_before_a_resume) {
  auto before = make_pipe();
  auto after = make_pipe();
  const auto process = run_main([&](custodian& c) {
    static_cast<void>(c.keep(before.write.get()));
    c.resumed();
    static_cast<void>(c.keep(after.write.get()));
    before.write.reset();
    after.write.reset();
  });
  before.write.reset();
  after.write.reset();
  kill_main();
  EXPECT_TRUE(is_hung_up(after.read, hang_limit_ms));
  // The custodian must not keep stderr open: a process that reads it must see the end-of-file.
  EXPECT_TRUE(is_hung_up(errors_, hang_limit_ms));
  EXPECT_FALSE(is_hung_up(before.read));
  ASSERT_TRUE(send_signal(process, SIGTERM));
  EXPECT_FALSE(is_hung_up(before.read));
  ASSERT_TRUE(send_signal(process, SIGKILL));
  const int status = wait_status(process);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_TRUE(is_hung_up(before.read));
}

TEST_F(custodian_of_a_killed_main, attempts_the_cleanup_and_reports_why_it_failed) {
  const test::fake_root tree;
  const test::scoped_variable directory("XENSTORED_RUNDIR", tree.root().path("/run").string());
  const test::scoped_variable path("XENSTORED_PATH", tree.root().path("/run/xs").string());
  const auto process = run_main([](custodian& c) {
    c.set_cleanup("xvdb", {cleanup_write{"state", "6"}});
  });
  kill_main();
  EXPECT_EQ(wait_status(process), 0);
  EXPECT_EQ(read_all(errors_),
            "xenpv: warning: custodian: cannot run the cleanups: xenstore at " +
                tree.root().path("/run/xs").string() +
                ": no such file or directory (set by XENSTORED_PATH; is xenstored running "
                "there?)\n");
}

TEST_F(custodian_of_a_killed_main, reports_nothing_when_no_cleanup_is_left) {
  const auto process = run_main([](custodian& c) {
    c.set_cleanup("xvdb", {cleanup_write{"state", "6"}});
    c.clear_cleanup("xvdb");
  });
  kill_main();
  EXPECT_EQ(wait_status(process), 0);
  EXPECT_EQ(read_all(errors_), "");
}

}  // namespace
}  // namespace xenpv::xen
