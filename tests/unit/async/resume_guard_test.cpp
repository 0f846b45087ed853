// The changes that a resume guard treats as a resume. The store and the clocks are fakes.
#include "async/resume_guard.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "unit/async/fake_xenstore.hpp"
#include "unit/async/run_coroutine.hpp"

namespace xenpv::async {
namespace {

using test::run;
using test::xenstore;

/// A suspend_source whose value is set by the test.
class fake_guest final : public xen::suspend_source {
 public:
  xen::suspend_reading now;
  [[nodiscard]] xen::suspend_reading read() const noexcept override { return now; }
};

class resume_guard_test : public ::testing::Test {
 protected:
  resume_guard_test() { xenstore.change("domid", "7"); }

  asio::awaitable<void> give_up() {
    ++given_up;
    if (given_up <= failures) throw std::runtime_error("no descriptor is free");
    co_return;
  }
  /// Runs `body` between the guard's start() and stop(). Call it once.
  void with_guard(std::function<asio::awaitable<void>(resume_guard&)> body) {
    resume_guard guard(context.get_executor(), client, suspends, [this] { return give_up(); });
    const auto life = [&]() -> asio::awaitable<void> {
      co_await guard.start();
      co_await body(guard);
      co_await guard.stop();
      co_await client.close();
    };
    run(context, life());
  }

  asio::io_context context{1};
  fake_guest guest;
  xen::suspend_clock suspends{guest};
  store_client client{context.get_executor(), xen::store::open()};
  int given_up = 0;
  int failures = 0;  ///< how many calls of give_up() fail before it succeeds
};

TEST_F(resume_guard_test, treats_a_new_domain_id_as_a_resume) {
  with_guard([&](resume_guard& guard) -> asio::awaitable<void> {
    EXPECT_FALSE(co_await guard.check());
    xenstore.change("domid", "8");
    EXPECT_TRUE(co_await guard.check());
    EXPECT_FALSE(co_await guard.check());
  });
  EXPECT_EQ(given_up, 1);
}

TEST_F(resume_guard_test, handles_a_resume_at_the_next_check_if_the_first_attempt_failed) {
  failures = 1;
  with_guard([&](resume_guard& guard) -> asio::awaitable<void> {
    xenstore.change("domid", "8");
    std::string problem;
    try {
      (void)co_await guard.check();
    } catch (const std::runtime_error& e) {
      problem = e.what();
    }
    EXPECT_EQ(problem, "no descriptor is free");
    EXPECT_EQ(guard.resumes(), 0U);
    EXPECT_TRUE(co_await guard.check());
    EXPECT_FALSE(co_await guard.check());
    EXPECT_EQ(guard.resumes(), 1U);
  });
  EXPECT_EQ(given_up, 2);
}

TEST_F(resume_guard_test, treats_a_new_incarnation_as_a_resume_even_if_no_clock_changed) {
  with_guard([&](resume_guard& guard) -> asio::awaitable<void> {
    guest.now.incarnation = 1;
    EXPECT_TRUE(suspends.has_moved());
    EXPECT_TRUE(co_await guard.check());
    EXPECT_FALSE(suspends.has_moved());
    EXPECT_FALSE(co_await guard.check());
  });
  EXPECT_EQ(given_up, 1);
}

TEST_F(resume_guard_test, treats_a_suspend_alone_as_a_checkpoint) {
  with_guard([&](resume_guard& guard) -> asio::awaitable<void> {
    guest.now.suspended = std::chrono::hours(1);
    EXPECT_FALSE(co_await guard.check());
    EXPECT_FALSE(suspends.has_moved()) << "it is acknowledged";
  });
  EXPECT_EQ(given_up, 0);
}

}  // namespace
}  // namespace xenpv::async
