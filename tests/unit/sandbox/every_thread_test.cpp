#include "sandbox/every_thread.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <set>
#include <thread>

#include "waiting_thread.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sandbox {
namespace {

/// The IDs of the threads on which note_thread() ran.
struct visit_log {
  std::array<std::atomic<pid_t>, 64> threads{};
  std::atomic<unsigned> count = 0;

  [[nodiscard]] std::set<pid_t> ids() const {
    std::set<pid_t> out;
    for (unsigned i = 0; i < count; ++i)
      out.insert(threads[i]);
    return out;
  }
};

visit_log* visits = nullptr;

int note_thread(const void*) noexcept {
  visits->threads[visits->count++] = static_cast<pid_t>(::syscall(SYS_gettid));
  return 0;
}

int fail_on(const void* thread) noexcept {
  return ::syscall(SYS_gettid) == *static_cast<const pid_t*>(thread) ? EACCES : 0;
}

TEST(every_thread, runs_once_on_each_thread_even_if_it_blocks_all_signals) {
  visit_log visited;
  visits = &visited;
  const waiting_thread first([] {});
  const waiting_thread second([] {}, signal_mask::all);
  run_on_every_thread(note_thread, nullptr, "visit");
  EXPECT_EQ(visited.count, 3);
  EXPECT_EQ(visited.ids().size(), 3);
  EXPECT_EQ(visited.threads[2], static_cast<pid_t>(::syscall(SYS_gettid))) << "the caller is last";
}

TEST(every_thread, includes_threads_that_start_meanwhile) {
  // Each thread starts another, so some start during the call.
  std::atomic<bool> stop = false;
  std::thread starter([&] {
    while (!stop)
      std::thread([] { std::this_thread::yield(); }).join();
  });
  for (int i = 0; i < 50; ++i) {
    visit_log visited;
    visits = &visited;
    run_on_every_thread(note_thread, nullptr, "visit");
    EXPECT_GE(visited.count, 2);
  }
  stop = true;
  starter.join();
}

TEST(every_thread, reports_the_error_of_a_thread) {
  const waiting_thread other([] {});
  visit_log visited;
  visits = &visited;
  run_on_every_thread(note_thread, nullptr, "visit");
  const pid_t target = visited.threads[0];
  try {
    run_on_every_thread(fail_on, &target, "drop something");
    FAIL() << "no exception";
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), std::errc::permission_denied);
    EXPECT_STREQ(problem.what(), "drop something: permission denied");
  }
}

TEST(every_thread, unblocks_a_signal) {
  bool was_blocked = true;
  waiting_thread other(
      [&] {
        sigset_t set;
        ::pthread_sigmask(SIG_BLOCK, nullptr, &set);
        was_blocked = ::sigismember(&set, SIGSYS) == 1 || ::sigismember(&set, SIGTERM) == 0;
      },
      signal_mask::all);
  unblock_on_every_thread(SIGSYS);
  other.finish();
  EXPECT_FALSE(was_blocked) << "only SIGSYS must be unblocked";
}

}  // namespace
}  // namespace xenpv::sandbox
