// The event loop in the simulator, with real pipes, real threads and libxenevtchn. Runs inside a
// domain: xenpv-sim run -- sim_event_loop_tests. Single-threaded tests are in tests/unit/async.
#include "xenpv/async/event_loop.hpp"

#include <gmock/gmock.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <memory>
#include <thread>

#include "async/nursery.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/async/cpu_pool.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::async {
namespace {

using ::testing::HasSubstr;

constexpr int rounds = 2000;

/// Replies to each event until all rounds are done.
asio::awaitable<void> echo(asio::io_context& context, std::promise<port>& offered) {
  event_loop loop(context);
  auto local = loop.bind_unbound(domid_self);
  offered.set_value(local.number());
  for (int i = 0; i < rounds; ++i) {
    co_await local.wait();
    local.notify();
  }
  EXPECT_EQ(loop.statistics().events, static_cast<std::uint64_t>(rounds));
  EXPECT_EQ(loop.statistics().notifies, static_cast<std::uint64_t>(rounds));
  EXPECT_EQ(loop.statistics().spurious, 0u);
  loop.close();
}

asio::awaitable<void> call(asio::io_context& context, port remote) {
  event_loop loop(context);
  auto local = loop.bind_interdomain(domid_self, remote);
  for (int i = 0; i < rounds; ++i) {
    local.notify();
    co_await local.wait();
  }
  EXPECT_EQ(loop.statistics().swallowed, 1u);
  EXPECT_EQ(loop.statistics().events, static_cast<std::uint64_t>(rounds));
  loop.close();
}

TEST(event_loop_on_simulator, two_threads_play_ping_pong) {
  const auto cpus = allowed_cpus();
  cpu_pool pool(std::array{cpus.front(), cpus.back()});
  std::promise<port> offered;
  auto echoed = asio::co_spawn(pool.context(0), echo(pool.context(0), offered), asio::use_future);
  auto called = asio::co_spawn(pool.context(1), call(pool.context(1), offered.get_future().get()),
                               asio::use_future);
  called.get();
  echoed.get();
  pool.stop();
  pool.join();
  EXPECT_TRUE(pool.context(0).stopped());
  EXPECT_TRUE(pool.context(1).stopped());
}

/// Both ends of a channel in one loop.
class one_loop : public ::testing::Test {
 protected:
  asio::io_context context{1};
  event_loop loop{context};
  bound_port near = loop.bind_unbound(domid_self);
  bound_port far = loop.bind_interdomain(domid_self, near.number());
};

TEST_F(one_loop, notifications_are_merged_while_a_callback_runs) {
  int calls = 0;
  near.on_event([&] {
    if (++calls > 1) return;
    for (int i = 0; i < 5; ++i)
      far.notify();
  });
  far.notify();
  context.poll();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(loop.statistics().notifies, 6u);
}

TEST_F(one_loop, close_lets_run_return_and_frees_the_ports) {
  const auto number = near.number();
  loop.close();
  test::run_until_dry(context);
  event_loop again(context);
  EXPECT_EQ(again.bind_unbound(domid_self).number(), number);
}

TEST_F(one_loop, bound_port_cannot_be_bound_again) {
  try {
    static_cast<void>(loop.bind_interdomain(domid_self, near.number()));
    FAIL();
  } catch (const failure& e) {
    EXPECT_THAT(e.what(), HasSubstr("bind to port"));
  }
  // The loop must still work after the failed bind.
  int calls = 0;
  near.on_event([&] { ++calls; });
  far.notify();
  context.poll();
  EXPECT_EQ(calls, 1);
}

TEST_F(one_loop, serves_many_ports_that_fire_at_once) {
  std::vector<bound_port> ends;
  std::vector<bound_port> peers;
  int calls = 0;
  for (int i = 0; i < 200; ++i) {
    ends.push_back(loop.bind_unbound(domid_self));
    peers.push_back(loop.bind_interdomain(domid_self, ends.back().number()));
    ends.back().on_event([&] { ++calls; });
  }
  for (int round = 1; round <= 3; ++round) {
    for (auto& peer : peers)
      peer.notify();
    context.poll();
    EXPECT_EQ(calls, 200 * round);
  }
  EXPECT_EQ(loop.statistics().spurious, 0u);
}

// ThreadSanitizer starts a thread, and a multi-threaded process cannot fork a custodian.
#ifndef __SANITIZE_THREAD__
TEST(event_loop_with_custodian, clean_stop_frees_the_ports_kept_by_the_custodian) {
  auto keeper = xen::custodian::start();
  asio::io_context context(1);
  event_loop loop(context, {.custodian = &keeper, .irq_cpu = {}, .root = system_root("/")});
  const auto port = loop.bind_unbound(domid_self);
  const auto number = port.number();
  loop.close();
  test::run_until_dry(context);
  // If any process still held the handle, the port number would be in use.
  event_loop again(context);
  EXPECT_EQ(again.bind_unbound(domid_self).number(), number);
}
#endif

}  // namespace
}  // namespace xenpv::async
