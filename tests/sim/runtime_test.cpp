// The complete runtime of a program: custodian, xenstore client, CPU threads and event loops.
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

#include "xenpv/async/cpu_set.hpp"
#include "xenpv/async/run_on.hpp"
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

/// Parameter: whether to start a custodian.
class runtime_on_simulator : public ::testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    // The libraries open some descriptors once per process. The runtime does not close them.
    static_cast<void>(xen::event_channel_handle::open());
    static_cast<void>(xen::store::open());
#ifdef __SANITIZE_THREAD__
    // ThreadSanitizer starts its own thread with the first thread of the program, and keeps it.
    std::thread([] {}).join();
#endif
  }
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    // ThreadSanitizer starts a thread, and a multi-threaded process cannot fork a custodian.
    if (GetParam()) GTEST_SKIP() << "needs a single-threaded process";
#endif
    descriptors_ = entries("/proc/self/fd");
    threads_ = entries("/proc/self/task");
  }
  void TearDown() override {
    if (IsSkipped()) return;
    EXPECT_EQ(entries("/proc/self/fd"), descriptors_);
    EXPECT_EQ(entries("/proc/self/task"), threads_);
    EXPECT_FALSE(have_child()) << "the custodian is still running";
  }
  [[nodiscard]] static runtime_options options() {
    runtime_options chosen;
    chosen.with_custodian = GetParam();
    return chosen;
  }
  /// Returns the message of the exception that run(main) throws.
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

INSTANTIATE_TEST_SUITE_P(custodian, runtime_on_simulator, ::testing::Bool(),
                         [](const auto& instance) {
                           return instance.param ? std::string("with") : std::string("without");
                         });

asio::awaitable<void> write_and_read(runtime& session, std::string& result) {
  for (int i = 0; i < 50; ++i)
    co_await session.store().write("data/clean-up", std::to_string(i));
  result = co_await session.store().read("data/clean-up");
}

TEST_P(runtime_on_simulator, waits_for_spawned_clean_up_before_it_closes_xenstore) {
  std::string read;
  runtime r(options());
  const auto main = [&](runtime& self) -> asio::awaitable<void> {
    self.spawn(write_and_read(self, read));
    throw std::runtime_error("exception in main");
    co_return;
  };
  EXPECT_THROW(r.run(main), std::runtime_error);
  EXPECT_EQ(read, "49");
}

TEST_P(runtime_on_simulator, runs_main_on_the_callers_thread) {
  runtime r(options());
  std::thread::id caller;
  r.run([&](runtime& given) -> asio::awaitable<void> {
    EXPECT_EQ(&given, &r);
    co_await given.store().write("data/xenpv-runtime", "1");
    EXPECT_EQ(co_await given.store().read("data/xenpv-runtime"), "1");
    EXPECT_TRUE(co_await given.store().remove("data/xenpv-runtime"));
    caller = std::this_thread::get_id();
  });
  EXPECT_TRUE(caller == std::this_thread::get_id());
}

TEST_P(runtime_on_simulator, starts_a_custodian_if_enabled) {
  runtime r(options());
  EXPECT_EQ(r.custodian() != nullptr, GetParam());
  EXPECT_EQ(have_child(), GetParam());
}

struct thread_facts {
  unsigned cpu = 0;
  std::string thread;
  bool context_runs_here = false;
  port bound{};
};

/// Call on the CPU thread with index `index`.
thread_facts inspect_thread(runtime& r, std::size_t index) {
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
  std::vector<thread_facts> threads;
  r.run([&](runtime&) -> asio::awaitable<void> {
    for (std::size_t i = 0; i < r.cpus(); ++i) {
      auto inspect = [&r, i] { return inspect_thread(r, i); };
      threads.push_back(co_await call_on(r.executor(i), std::move(inspect)));
    }
  });
  ASSERT_EQ(threads.size(), cpus.size());
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    EXPECT_EQ(threads[i].cpu, cpus[i]);
    EXPECT_EQ(threads[i].thread, "xev-cpu" + std::to_string(cpus[i]));
    EXPECT_TRUE(threads[i].context_runs_here);
    EXPECT_NE(raw(threads[i].bound), 0u);
  }
}

TEST_P(runtime_on_simulator, uses_the_given_cpus_and_thread_names) {
  auto chosen = options();
  chosen.cpus = {allowed_cpus().back()};
  chosen.thread_name = "disk";
  runtime r(std::move(chosen));
  ASSERT_EQ(r.cpus(), 1u);
  thread_facts facts;
  r.run([&](runtime&) -> asio::awaitable<void> {
    auto inspect = [&r] { return inspect_thread(r, 0); };
    facts = co_await call_on(r.executor(0), std::move(inspect));
  });
  EXPECT_EQ(facts.cpu, allowed_cpus().back());
  EXPECT_EQ(facts.thread, "disk" + std::to_string(allowed_cpus().back()));
}

asio::awaitable<void> bind_and_forget(runtime& r, std::vector<port>& numbers) {
  auto bind = [&r] { return r.loop(0).bind_unbound(domid_self); };
  auto bound = co_await call_on(r.executor(0), std::move(bind));
  numbers.push_back(bound.number());
}

TEST_P(runtime_on_simulator, frees_the_ports_of_its_loops) {
  std::vector<port> numbers;
  for (int i = 0; i < 2; ++i) {
    runtime r(options());
    r.run([&](runtime&) { return bind_and_forget(r, numbers); });
  }
  ASSERT_EQ(numbers.size(), 2u);
  EXPECT_EQ(numbers[0], numbers[1]);
}

TEST_P(runtime_on_simulator, joins_its_threads_before_run_returns) {
  const auto threads = entries("/proc/self/task");
  runtime r(options());
  const std::size_t log_threads = 1;
  EXPECT_EQ(entries("/proc/self/task"), threads + allowed_cpus().size() + log_threads);
  r.run([](runtime&) -> asio::awaitable<void> { co_return; });
  EXPECT_EQ(entries("/proc/self/task"), threads);
  for (std::size_t i = 0; i < r.cpus(); ++i)
    EXPECT_TRUE(r.context(i).stopped());
}

TEST_P(runtime_on_simulator, run_rethrows_an_exception_of_main) {
  EXPECT_EQ(failure_of([](runtime& r) -> asio::awaitable<void> {
              static_cast<void>(co_await r.store().own_domid());
              throw std::runtime_error("from main");
            }),
            "from main");
}

TEST_P(runtime_on_simulator, run_rethrows_an_exception_before_the_first_suspension) {
  EXPECT_EQ(failure_of([](runtime&) -> asio::awaitable<void> {
              throw std::runtime_error("before the first suspension");
              co_return;
            }),
            "before the first suspension");
}

TEST_P(runtime_on_simulator, run_rethrows_an_exception_of_a_main_that_is_not_a_coroutine) {
  EXPECT_EQ(failure_of([](runtime&) -> asio::awaitable<void> {
              throw std::runtime_error("not a coroutine");
            }),
            "not a coroutine");
}

TEST_P(runtime_on_simulator, run_rethrows_a_failure_on_a_cpu_thread_after_main) {
  EXPECT_EQ(failure_of([](runtime& r) -> asio::awaitable<void> {
              asio::post(r.executor(0), [] { throw std::runtime_error("from a CPU thread"); });
              co_return;
            }),
            "from a CPU thread");
}

TEST_P(runtime_on_simulator, run_rethrows_a_failure_on_the_control_thread_after_main) {
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

TEST_P(runtime_on_simulator, run_prefers_the_exception_of_main) {
  EXPECT_EQ(failure_of([](runtime& r) -> asio::awaitable<void> {
              asio::post(r.control(), [] { throw std::runtime_error("from a handler"); });
              asio::post(r.executor(0), [] { throw std::runtime_error("from a CPU thread"); });
              static_cast<void>(co_await r.store().own_domid());
              throw std::runtime_error("from main");
            }),
            "from main");
}

TEST_P(runtime_on_simulator, may_be_destroyed_without_a_run) {
  const runtime r(options());
}

TEST_P(runtime_on_simulator, may_be_destroyed_without_a_run_after_posting_work) {
  runtime r(options());
  asio::post(r.control(), [] { throw std::runtime_error("not reported"); });
}

TEST_P(runtime_on_simulator, releases_everything_when_it_cannot_start) {
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
