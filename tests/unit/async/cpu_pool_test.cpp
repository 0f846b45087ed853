#include "xenpv/async/cpu_pool.hpp"

#include <gmock/gmock.h>
#include <pthread.h>
#include <sched.h>

#include <array>
#include <boost/asio/post.hpp>
#include <future>
#include <stdexcept>
#include <thread>

#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace {

using ::testing::HasSubstr;

struct thread_info {
  unsigned cpu;
  std::string name;
  std::thread::id thread;
};

thread_info ask(cpu_pool& pool, std::size_t index) {
  std::promise<thread_info> answer;
  asio::post(pool.executor(index), [&] {
    std::array<char, 16> name{};
    ::pthread_getname_np(::pthread_self(), name.data(), name.size());
    answer.set_value(
        {static_cast<unsigned>(::sched_getcpu()), name.data(), std::this_thread::get_id()});
  });
  return answer.get_future().get();
}

TEST(cpu_pool, runs_one_named_thread_on_each_cpu) {
  const auto cpus = allowed_cpus();
  cpu_pool pool(cpus);
  ASSERT_EQ(pool.size(), cpus.size());
  for (std::size_t index = 0; index < pool.size(); ++index) {
    const auto info = ask(pool, index);
    EXPECT_EQ(pool.cpu(index), cpus[index]);
    EXPECT_EQ(info.cpu, cpus[index]);
    EXPECT_EQ(info.name, "xev-cpu" + std::to_string(cpus[index]));
    EXPECT_TRUE(ask(pool, index).thread == info.thread);
  }
  pool.stop();
  pool.join();
}

TEST(cpu_pool, truncates_long_names_to_the_kernel_limit) {
  const auto cpu = allowed_cpus().front();
  cpu_pool pool(std::array{cpu}, {.thread_name = "a-name-of-fifteen-and-more", .on_failure = {}});
  EXPECT_EQ(ask(pool, 0).name, "a-name-of-fifte");
}

TEST(cpu_pool, refuses_a_cpu_it_cannot_pin_to) {
  const auto good = allowed_cpus().front();
  try {
    cpu_pool pool(std::array{good, 8190u});
    FAIL();
  } catch (const failure& e) {
    EXPECT_THAT(e.what(), HasSubstr("pin a thread to CPU 8190"));
  }
}

TEST(cpu_pool, stop_runs_work_posted_before_it) {
  cpu_pool pool(std::array{allowed_cpus().front()});
  std::promise<void> gate;
  int done = 0;
  asio::post(pool.executor(0), [&, opened = gate.get_future().share()] {
    opened.wait();
    // stop() has been called, but handlers posted by a running handler are still executed.
    asio::post(pool.executor(0), [&] {
      ++done;
      asio::post(pool.executor(0), [&] { ++done; });
    });
  });
  pool.stop();
  gate.set_value();
  pool.join();
  EXPECT_EQ(done, 2);
  EXPECT_TRUE(pool.context(0).stopped());
}

TEST(cpu_pool, join_rethrows_the_first_exception_of_a_handler) {
  std::promise<void> failed;
  cpu_pool pool(std::array{allowed_cpus().front()},
                {.thread_name = "t", .on_failure = [&] { failed.set_value(); }});
  asio::post(pool.executor(0), [] { throw std::runtime_error("the first"); });
  asio::post(pool.executor(0), [] { throw std::runtime_error("the second"); });
  bool ran_after = false;
  asio::post(pool.executor(0), [&] { ran_after = true; });
  failed.get_future().wait();
  pool.stop();
  try {
    pool.join();
    FAIL();
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "the first");
  }
  EXPECT_TRUE(ran_after);
}

TEST(cpu_pool, logs_handler_exceptions_immediately_with_the_thread_name) {
  const auto cpu = allowed_cpus().front();
  cpu_pool pool(std::array{cpu}, {.thread_name = "t", .on_failure = {}});
  ::testing::internal::CaptureStderr();
  asio::post(pool.executor(0), [] { throw std::runtime_error("the first"); });
  asio::post(pool.executor(0), [] { throw std::runtime_error("the second"); });
  std::promise<void> both_left;
  asio::post(pool.executor(0), [&] { both_left.set_value(); });
  both_left.get_future().wait();
  const auto messages = ::testing::internal::GetCapturedStderr();
  const auto name = "t" + std::to_string(cpu);
  EXPECT_THAT(messages, HasSubstr(name + ": a handler threw an exception: the first"));
  EXPECT_THAT(messages, HasSubstr(name + ": a handler threw an exception: the second"));
  pool.stop();
  EXPECT_THROW(pool.join(), std::runtime_error);
}

}  // namespace
}  // namespace xenpv::async
