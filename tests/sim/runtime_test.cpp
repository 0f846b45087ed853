// The runtime, whole, as a program has it: custodian, xenstore client, CPU threads, event loops.
// Runs inside a domain: xenpv-sim run -- sim_runtime_tests.
#include "xenpv/async/runtime.hpp"

#include <gmock/gmock.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "xenpv/async/call_on.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/event_channel.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::async {
namespace {

using ::testing::HasSubstr;

std::size_t entries(const char* directory) {
  namespace fs = std::filesystem;
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

bool have_child() {
  return ::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD;
}

/// Parameter: with a custodian.
class runtime_on_simulator : public ::testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    // The libraries open some things once for the process, which are not the runtime's to close.
    static_cast<void>(xen::event_channel_handle::open());
    static_cast<void>(xen::store::open());
#ifdef __SANITIZE_THREAD__
    // Its own thread comes with the first of ours, and stays.
    std::thread([] {}).join();
#endif
  }
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    // ThreadSanitizer runs a thread of its own, and the custodian refuses to fork beside any.
    if (GetParam()) GTEST_SKIP() << "needs a process without another thread";
#endif
    descriptors_ = entries("/proc/self/fd");
    threads_ = entries("/proc/self/task");
  }
  void TearDown() override {
    if (IsSkipped()) return;
    EXPECT_EQ(entries("/proc/self/fd"), descriptors_);
    EXPECT_EQ(entries("/proc/self/task"), threads_);
    EXPECT_FALSE(have_child()) << "the custodian is still there";
  }
  [[nodiscard]] static runtime_options options() {
    runtime_options chosen;
    chosen.with_custodian = GetParam();
    return chosen;
  }
  /// What comes out of run() with this main.
  static std::string failure_of(std::function<asio::awaitable<void>(runtime&)> main) {
    runtime r(options());
    try {
      r.run(std::move(main));
    } catch (const std::exception& e) {
      return e.what();
    }
    return "no failure";
  }

 private:
  std::size_t descriptors_ = 0;
  std::size_t threads_ = 0;
};

INSTANTIATE_TEST_SUITE_P(custodian, runtime_on_simulator, ::testing::Bool(), [](const auto& each) {
  return each.param ? std::string("with") : std::string("without");
});

TEST_P(runtime_on_simulator, runs_main_on_the_callers_thread) {
  runtime r(options());
  std::thread::id found;
  r.run([&](runtime& given) -> asio::awaitable<void> {
    EXPECT_EQ(&given, &r);
    co_await given.store().write("data/xenpv-runtime", "1");
    EXPECT_EQ(co_await given.store().read("data/xenpv-runtime"), "1");
    EXPECT_TRUE(co_await given.store().remove("data/xenpv-runtime"));
    found = std::this_thread::get_id();
  });
  EXPECT_TRUE(found == std::this_thread::get_id());
}

TEST_P(runtime_on_simulator, has_the_custodian_that_was_asked_for) {
  runtime r(options());
  EXPECT_EQ(r.custodian() != nullptr, GetParam());
  EXPECT_EQ(have_child(), GetParam());
}

struct whereabouts {
  unsigned cpu = 0;
  std::string thread;
  bool context_runs_here = false;
  port bound{};
};

/// For the thread of that index.
whereabouts look_around(runtime& r, std::size_t index) {
  std::array<char, 16> name{};
  ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  const auto bound = r.loop(index).bind_unbound(domid_self);
  return {static_cast<unsigned>(::sched_getcpu()), name.data(),
          r.context(index).get_executor().running_in_this_thread(), bound.number()};
}

TEST_P(runtime_on_simulator, has_an_event_loop_on_each_cpu) {
  const auto cpus = allowed_cpus();
  runtime r(options());
  ASSERT_EQ(r.cpus(), cpus.size());
  std::vector<whereabouts> found;
  r.run([&](runtime&) -> asio::awaitable<void> {
    for (std::size_t i = 0; i < r.cpus(); ++i) {
      auto look = [&r, i] { return look_around(r, i); };
      found.push_back(co_await call_on(r.executor(i), std::move(look)));
    }
  });
  ASSERT_EQ(found.size(), cpus.size());
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    EXPECT_EQ(found[i].cpu, cpus[i]);
    EXPECT_EQ(found[i].thread, "xev-cpu" + std::to_string(cpus[i]));
    EXPECT_TRUE(found[i].context_runs_here);
    EXPECT_NE(raw(found[i].bound), 0u);
  }
}

TEST_P(runtime_on_simulator, uses_the_cpus_and_names_it_was_given) {
  auto chosen = options();
  chosen.cpus = {allowed_cpus().back()};
  chosen.thread_name = "disk";
  runtime r(std::move(chosen));
  ASSERT_EQ(r.cpus(), 1u);
  whereabouts found;
  r.run([&](runtime&) -> asio::awaitable<void> {
    auto look = [&r] { return look_around(r, 0); };
    found = co_await call_on(r.executor(0), std::move(look));
  });
  EXPECT_EQ(found.cpu, allowed_cpus().back());
  EXPECT_EQ(found.thread, "disk" + std::to_string(allowed_cpus().back()));
}

asio::awaitable<void> bind_and_forget(runtime& r, std::vector<port>& numbers) {
  auto bind = [&r] { return r.loop(0).bind_unbound(domid_self); };
  auto kept = co_await call_on(r.executor(0), std::move(bind));
  numbers.push_back(kept.number());
}

TEST_P(runtime_on_simulator, frees_the_ports_of_its_loops_for_the_next) {
  std::vector<port> numbers;
  for (int i = 0; i < 2; ++i) {
    runtime r(options());
    r.run([&](runtime&) { return bind_and_forget(r, numbers); });
  }
  ASSERT_EQ(numbers.size(), 2u);
  EXPECT_EQ(numbers[0], numbers[1]);
}

TEST_P(runtime_on_simulator, threads_have_ended_when_it_was_run) {
  const auto threads = entries("/proc/self/task");
  runtime r(options());
  EXPECT_EQ(entries("/proc/self/task"), threads + allowed_cpus().size());
  r.run([](runtime&) -> asio::awaitable<void> { co_return; });
  EXPECT_EQ(entries("/proc/self/task"), threads);
  for (std::size_t i = 0; i < r.cpus(); ++i)
    EXPECT_TRUE(r.context(i).stopped());
}

TEST_P(runtime_on_simulator, what_main_throws_comes_out) {
  EXPECT_EQ(failure_of([](runtime& r) -> asio::awaitable<void> {
              static_cast<void>(co_await r.store().own_domid());
              throw std::runtime_error("from main");
            }),
            "from main");
}

TEST_P(runtime_on_simulator, what_main_throws_before_it_waits_comes_out) {
  EXPECT_EQ(failure_of([](runtime&) -> asio::awaitable<void> {
              throw std::runtime_error("at once");
              co_return;
            }),
            "at once");
}

TEST_P(runtime_on_simulator, main_that_is_no_coroutine_may_throw) {
  EXPECT_EQ(failure_of([](runtime&) -> asio::awaitable<void> {
              throw std::runtime_error("no coroutine");
            }),
            "no coroutine");
}

TEST_P(runtime_on_simulator, failure_on_a_cpu_thread_comes_out_when_main_is_done) {
  EXPECT_EQ(failure_of([](runtime& r) -> asio::awaitable<void> {
              asio::post(r.executor(0), [] { throw std::runtime_error("from a CPU thread"); });
              co_return;
            }),
            "from a CPU thread");
}

TEST_P(runtime_on_simulator, failure_on_the_control_thread_comes_out_when_main_is_done) {
  bool main_went_on = false;
  EXPECT_EQ(failure_of([&](runtime& r) -> asio::awaitable<void> {
              asio::post(r.control(), [] { throw std::runtime_error("from a handler"); });
              static_cast<void>(co_await r.store().own_domid());
              auto nothing = [] {};
              co_await call_on(r.executor(0), std::move(nothing));
              main_went_on = true;
            }),
            "from a handler");
  EXPECT_TRUE(main_went_on);
}

TEST_P(runtime_on_simulator, what_main_throws_goes_before_all_else) {
  EXPECT_EQ(failure_of([](runtime& r) -> asio::awaitable<void> {
              asio::post(r.control(), [] { throw std::runtime_error("from a handler"); });
              asio::post(r.executor(0), [] { throw std::runtime_error("from a CPU thread"); });
              static_cast<void>(co_await r.store().own_domid());
              throw std::runtime_error("from main");
            }),
            "from main");
}

TEST_P(runtime_on_simulator, one_that_is_never_run_goes_quietly) {
  const runtime r(options());
}

TEST_P(runtime_on_simulator, one_that_is_never_run_survives_what_was_left_to_it) {
  runtime r(options());
  asio::post(r.control(), [] { throw std::runtime_error("nobody will be told"); });
}

TEST_P(runtime_on_simulator, leaves_nothing_behind_when_it_cannot_start) {
  auto chosen = options();
  chosen.cpus = {allowed_cpus().front(), 8190};
  try {
    const runtime r(std::move(chosen));
    FAIL();
  } catch (const failure& e) {
    EXPECT_THAT(e.what(), HasSubstr("pin a thread to CPU 8190"));
  }
}

}  // namespace
}  // namespace xenpv::async
