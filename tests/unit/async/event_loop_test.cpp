#include "xenpv/async/event_loop.hpp"

#include <gmock/gmock.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "async/nursery.hpp"
#include "unit/async/fake_evtchn.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace {

using test::device;
using test::run;
using test::run_until_dry;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class event_loop_test : public ::testing::Test {
 protected:
  ~event_loop_test() override { device.clear(); }

  /// Runs the ready handlers. The event loop's read stays pending.
  void turn() { context.poll(); }

  asio::io_context context{1};
};

asio::awaitable<void> count_events(bound_port& port, int& count) {
  for (;;) {
    co_await port.wait();
    ++count;
  }
}

asio::awaitable<void> wait_once(bound_port& port, std::string& end) {
  try {
    co_await port.wait();
    end = "event";
  } catch (const failure& e) {
    end = e.what();
  } catch (const boost::system::system_error& e) {
    end = e.code().message();
  }
}

void begin(asio::io_context& context, asio::awaitable<void> body) {
  asio::co_spawn(context, std::move(body), [](const std::exception_ptr&) {});
}

TEST_F(event_loop_test, wait_returns_for_each_event_and_unmasks_when_the_work_is_done) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  int count = 0;
  begin(context, count_events(port, count));
  turn();
  EXPECT_EQ(count, 0);
  for (int i = 1; i <= 3; ++i) {
    device.raise(raw(port.number()));
    EXPECT_TRUE(device.is_masked(raw(port.number())));
    turn();
    EXPECT_EQ(count, i);
    EXPECT_FALSE(device.is_masked(raw(port.number()))) << "the next wait unmasks";
  }
  EXPECT_EQ(loop.statistics().wakes, 3u);
  EXPECT_EQ(loop.statistics().events, 3u);
  EXPECT_EQ(loop.statistics().unmasks, 3u);
}

TEST_F(event_loop_test, port_stays_masked_while_the_waiter_works) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  std::string end;
  begin(context, wait_once(port, end));
  turn();
  device.raise(raw(port.number()));
  turn();
  EXPECT_EQ(end, "event");
  EXPECT_TRUE(device.is_masked(raw(port.number())));
}

TEST_F(event_loop_test, events_before_the_wait_are_kept_and_merged) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  device.raise(raw(port.number()));
  device.raise(raw(port.number()));
  turn();
  int count = 0;
  begin(context, count_events(port, count));
  turn();
  // One for the kept event, and one for the pending event, which the second wait() unmasks.
  EXPECT_EQ(count, 2);
  EXPECT_EQ(loop.statistics().events, 2u);
}

TEST_F(event_loop_test, first_event_of_an_interdomain_port_is_swallowed) {
  event_loop loop(context);
  auto local = loop.bind_unbound(domid_self);
  auto remote = loop.bind_interdomain(domid_self, local.number());
  int count = 0;
  begin(context, count_events(remote, count));
  turn();
  EXPECT_EQ(count, 0);
  EXPECT_EQ(loop.statistics().swallowed, 1u);
  EXPECT_EQ(loop.statistics().events, 0u);
  local.notify();
  turn();
  EXPECT_EQ(count, 1);
  EXPECT_EQ(loop.statistics().notifies, 1u);
}

asio::awaitable<void> cancel_then_wait(bound_port& port, std::vector<std::string>& ends) {
  nursery children(co_await asio::this_coro::executor);
  children.spawn(wait_once(port, ends.emplace_back()));
  children.cancel();
  co_await children.join();
  device.raise(raw(port.number()));
  children.spawn(wait_once(port, ends.emplace_back()));
  co_await children.join();
}

TEST_F(event_loop_test, cancelled_wait_loses_no_event) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  std::vector<std::string> ends;
  ends.reserve(2);
  begin(context, cancel_then_wait(port, ends));
  turn();
  EXPECT_THAT(ends, ElementsAre("Operation canceled", "event"));
}

TEST_F(event_loop_test, second_waiter_is_refused) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  std::string first;
  std::string second;
  begin(context, wait_once(port, first));
  begin(context, wait_once(port, second));
  turn();
  EXPECT_EQ(first, "");
  EXPECT_EQ(second, "listen for events on port 1: invalid argument (another listener is active)");
  EXPECT_THROW(port.on_event([] {}), failure);
}

TEST_F(event_loop_test, callback_runs_before_the_port_is_unmasked) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  std::vector<bool> masked_inside;
  port.on_event([&] { masked_inside.push_back(device.is_masked(raw(port.number()))); });
  device.raise(raw(port.number()));
  turn();
  EXPECT_THAT(masked_inside, ElementsAre(true));
  EXPECT_FALSE(device.is_masked(raw(port.number())));
}

TEST_F(event_loop_test, notifications_during_the_callback_are_merged_into_one_event) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  int calls = 0;
  port.on_event([&] {
    if (++calls > 1) return;
    for (int i = 0; i < 5; ++i)
      device.raise(raw(port.number()));
  });
  device.raise(raw(port.number()));
  turn();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(loop.statistics().events, 2u) << "six notifications make two events";
}

TEST_F(event_loop_test, callback_may_unbind_its_own_port) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  const auto number = raw(port.number());
  std::string captured = "still here";
  port.on_event([&, captured] {
    port = bound_port();
    // The lambda's captures must stay alive until the callback returns.
    EXPECT_EQ(captured, "still here");
  });
  device.raise(number);
  turn();
  EXPECT_FALSE(device.ports.contains(number));
  EXPECT_EQ(device.unmasks, 0);
}

TEST_F(event_loop_test, event_of_a_port_unbound_in_the_same_batch_is_spurious) {
  event_loop loop(context);
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  int calls = 0;
  first.on_event([&] { second = bound_port(); });
  second.on_event([&] { ++calls; });
  device.raise(raw(first.number()));
  device.raise(raw(second.number()));
  turn();
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(loop.statistics().spurious, 1u);
  EXPECT_EQ(loop.statistics().events, 1u);
}

TEST_F(event_loop_test, port_bound_in_a_callback_does_not_get_the_event_of_its_predecessor) {
  event_loop loop(context);
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  const auto number = raw(second.number());
  int calls = 0;
  first.on_event([&] {
    second = bound_port();
    device.next_port = number;
    second = loop.bind_unbound(domid_0);
    second.on_event([&] { ++calls; });
  });
  device.raise(raw(first.number()));
  device.raise(number);
  turn();
  EXPECT_EQ(raw(second.number()), number);
  EXPECT_EQ(calls, 0);
  device.raise(number);
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(event_loop_test, callback_may_replace_and_remove_itself) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  std::vector<std::string> log;
  port.on_event([&] {
    log.push_back("first");
    port.on_event([&] {
      log.push_back("second");
      port.on_event({});
    });
  });
  for (int i = 0; i < 3; ++i) {
    device.raise(raw(port.number()));
    turn();
  }
  EXPECT_THAT(log, ElementsAre("first", "second"));
  std::string end;
  begin(context, wait_once(port, end));
  turn();
  EXPECT_EQ(end, "event") << "the third event was kept";
}

TEST_F(event_loop_test, new_callback_gets_a_pending_event) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  device.raise(raw(port.number()));
  turn();
  int calls = 0;
  port.on_event([&] { ++calls; });
  turn();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(loop.statistics().events, 1u);
  EXPECT_FALSE(device.is_masked(raw(port.number())));
}

TEST_F(event_loop_test, callback_exception_propagates_after_the_rest_of_the_batch) {
  event_loop loop(context);
  auto bad = loop.bind_unbound(domid_0);
  auto good = loop.bind_unbound(domid_0);
  int calls = 0;
  bad.on_event([] { throw std::runtime_error("bad callback"); });
  good.on_event([&] { ++calls; });
  device.raise(raw(bad.number()));
  device.raise(raw(good.number()));
  EXPECT_THROW(turn(), std::runtime_error);
  EXPECT_EQ(calls, 1);
  device.raise(raw(good.number()));
  EXPECT_NO_THROW(turn());
  EXPECT_EQ(calls, 2);
  EXPECT_FALSE(device.is_masked(raw(bad.number()))) << "a failed callback must not mask its port";
}

TEST_F(event_loop_test, unknown_ports_are_counted_and_dropped) {
  event_loop loop(context);
  test::fake_device::put(*device.handles.begin(), 77);
  test::fake_device::put(*device.handles.begin(), 0xFFFFFFFF);
  turn();
  EXPECT_EQ(loop.statistics().spurious, 2u);
  EXPECT_EQ(device.unmasks, 0);
}

TEST_F(event_loop_test, flood_of_events_does_not_starve_other_handlers) {
  event_loop loop(context);
  std::vector<bound_port> ports;
  int calls = 0;
  int calls_before_other = -1;
  for (int i = 0; i < 150; ++i) {
    auto& port = ports.emplace_back(loop.bind_unbound(domid_0));
    port.on_event([&] {
      if (++calls == 1) asio::post(context, [&] { calls_before_other = calls; });
    });
    device.raise(raw(port.number()));
  }
  turn();
  EXPECT_EQ(calls, 150);
  EXPECT_EQ(calls_before_other, 64);
  EXPECT_EQ(loop.statistics().wakes, 3u);
}

TEST_F(event_loop_test, close_unbinds_all_ports_and_lets_the_context_stop) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  auto other = loop.bind_virq(3);
  std::string end;
  begin(context, wait_once(port, end));
  turn();
  loop.close();
  run_until_dry(context);
  EXPECT_EQ(end, "Operation canceled");
  EXPECT_TRUE(device.handles.empty());
  EXPECT_EQ(device.unbinds, 2);
  EXPECT_FALSE(port.is_live());
  EXPECT_EQ(raw(other.number()), 2u);
  EXPECT_THROW(other.notify(), failure);
  EXPECT_THROW(static_cast<void>(loop.bind_virq(1)), failure);
  loop.close();
}

TEST_F(event_loop_test, port_may_outlive_its_loop) {
  bound_port port;
  {
    event_loop loop(context);
    port = loop.bind_unbound(domid_0);
    EXPECT_TRUE(port.is_live());
  }
  EXPECT_FALSE(port.is_live());
  port = bound_port();
  EXPECT_EQ(device.unbinds, 1);
  run_until_dry(context);
}

TEST_F(event_loop_test, callback_may_close_the_loop) {
  event_loop loop(context);
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  int calls = 0;
  first.on_event([&] { loop.close(); });
  second.on_event([&] { ++calls; });
  device.raise(raw(first.number()));
  device.raise(raw(second.number()));
  run_until_dry(context);
  EXPECT_EQ(calls, 0);
}

TEST_F(event_loop_test, destroying_a_port_ends_its_wait) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  std::string end;
  begin(context, wait_once(port, end));
  turn();
  port = bound_port();
  EXPECT_EQ(end, "") << "never resumed from inside the destructor";
  turn();
  EXPECT_EQ(end, "Operation canceled");
}

TEST_F(event_loop_test, resume_kills_the_ports_and_never_touches_the_old_handle) {
  event_loop loop(context);
  auto* const old_handle = *device.handles.begin();
  auto port = loop.bind_unbound(domid_0);
  std::string end;
  begin(context, wait_once(port, end));
  turn();
  loop.resumed();
  turn();
  EXPECT_EQ(end, "wait for an event on port 1: the guest was saved and restored");
  EXPECT_FALSE(port.is_live());
  try {
    port.notify();
    FAIL();
  } catch (const failure& e) {
    EXPECT_EQ(e.code(), errc::resumed);
    EXPECT_STREQ(e.what(), "notify port 1: the guest was saved and restored (the port is dead)");
  }
  port = bound_port();
  loop.close();
  run_until_dry(context);
  EXPECT_EQ(device.unbinds, 0) << "an unbind through the old handle is a kernel BUG";
  EXPECT_THAT(device.handles, ElementsAre(old_handle)) << "and so is closing it";
}

TEST_F(event_loop_test, new_handle_works_after_a_resume_even_if_port_numbers_are_reused) {
  event_loop loop(context);
  auto old_port = loop.bind_unbound(domid_0);
  int old_calls = 0;
  old_port.on_event([&] { ++old_calls; });
  loop.resumed();
  device.next_port = raw(old_port.number());
  auto port = loop.bind_unbound(domid_0);
  EXPECT_EQ(port.number(), old_port.number());
  int calls = 0;
  port.on_event([&] { ++calls; });
  old_port = bound_port();
  device.raise(raw(port.number()));
  turn();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(old_calls, 0);
  EXPECT_EQ(loop.statistics().resumes, 1u);
}

TEST_F(event_loop_test, callback_may_resume_the_loop) {
  event_loop loop(context);
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  int calls = 0;
  first.on_event([&] { loop.resumed(); });
  second.on_event([&] { ++calls; });
  device.raise(raw(first.number()));
  device.raise(raw(second.number()));
  turn();
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(device.unmasks, 0) << "old port numbers may be in use again";
}

TEST_F(event_loop_test, failed_reopen_leaves_a_closed_loop) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  device.refuse_open = true;
  EXPECT_THROW(loop.resumed(), failure);
  EXPECT_FALSE(port.is_live());
  EXPECT_NO_THROW(run_until_dry(context));
  loop.close();
}

TEST_F(event_loop_test, device_failure_wakes_waiters_and_propagates_from_run) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  std::string end;
  begin(context, wait_once(port, end));
  turn();
  ::close(std::exchange((*device.handles.begin())->write_end, -1));
  try {
    turn();
    FAIL();
  } catch (const failure& e) {
    EXPECT_THAT(e.what(), HasSubstr("read pending ports of evtchn:"));
  }
  turn();
  EXPECT_EQ(end, "wait for an event on port 1: connection lost");
}

TEST_F(event_loop_test, missing_interrupt_is_reported_but_not_fatal) {
  event_loop loop(context,
                  {.custodian = nullptr, .irq_cpu = 0, .root = system_root("/nonexistent")});
  auto port = loop.bind_unbound(domid_0);
  EXPECT_EQ(port.irq().status, irq_placement_status::unavailable);
  EXPECT_THAT(port.irq().reason, HasSubstr("0 new interrupts named evtchn:"));
  EXPECT_EQ(port.check_irq().status, irq_placement_status::unavailable);
}

TEST_F(event_loop_test, default_constructed_port_throws) {
  bound_port none;
  EXPECT_FALSE(none.is_live());
  EXPECT_EQ(raw(none.number()), 0u);
  EXPECT_THROW(none.notify(), failure);
  EXPECT_THROW(none.on_event([] {}), failure);
  EXPECT_THROW(static_cast<void>(none.wait()), failure);
  EXPECT_EQ(none.irq().reason, "the port is not bound");
}

}  // namespace
}  // namespace xenpv::async
