// An event loop whose device fails: subsequent binds, and the ports' death callbacks.
#include <gmock/gmock.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "unit/async/fake_evtchn.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace {

using test::device;
using test::run_until_dry;
using ::testing::HasSubstr;

class failing_event_loop : public ::testing::Test {
 protected:
  ~failing_event_loop() override { device.clear(); }

  /// Runs the ready handlers. The event loop's read stays pending.
  void turn() { context.poll(); }

  asio::io_context context{1};
};

/// Makes reads from the only open handle report end-of-file.
void end_device() {
  ::close(std::exchange((*device.handles.begin())->write_end, -1));
}

TEST_F(failing_event_loop, refuses_to_bind_after_its_device_failed) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  end_device();
  EXPECT_THROW(turn(), failure);
  EXPECT_FALSE(port.is_live());
  const auto bound = device.ports.size();
  try {
    static_cast<void>(loop.bind_unbound(domid_0));
    FAIL();
  } catch (const failure& e) {
    EXPECT_EQ(e.code(), errc::lost_connection);
    EXPECT_THAT(e.what(), HasSubstr("(read pending ports of evtchn:"));
  }
  EXPECT_EQ(device.ports.size(), bound);
  loop.resumed();
  EXPECT_NO_THROW(static_cast<void>(loop.bind_unbound(domid_0))) << "the handle is new";
}

TEST_F(failing_event_loop, reopens_its_device_at_the_next_attempt_after_a_failed_one) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  device.refuse_open = true;
  EXPECT_THROW(loop.resumed(), failure);
  EXPECT_FALSE(port.is_live());
  EXPECT_THROW(loop.resumed(), failure);
  device.refuse_open = false;
  loop.resumed();
  EXPECT_TRUE(loop.bind_unbound(domid_0).is_live());
}

TEST_F(failing_event_loop, runs_the_death_callbacks_when_its_device_fails) {
  event_loop loop(context);
  std::vector<std::string> reported;
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  auto third = loop.bind_unbound(domid_0);
  first.on_event([] {});
  // A death callback may close its own port and others.
  first.on_death([&](const error& why) {
    reported.push_back("first: " + why.text);
    first = bound_port();
    second = bound_port();
  });
  second.on_death([&](const error&) { reported.emplace_back("second"); });
  third.on_death([&](const error&) { reported.emplace_back("third"); });
  third.on_death({});
  end_device();
  EXPECT_THROW(turn(), failure);
  ASSERT_EQ(reported.size(), 2U);
  EXPECT_THAT(reported[0], HasSubstr("first: read pending ports of evtchn:"));
  EXPECT_EQ(reported[1], "second");
}

TEST_F(failing_event_loop, runs_no_death_callbacks_on_resume_or_close) {
  bool reported = false;
  {
    event_loop loop(context);
    auto port = loop.bind_unbound(domid_0);
    port.on_death([&](const error&) { reported = true; });
    loop.resumed();
    EXPECT_THROW(port.on_death([](const error&) {}), failure);
    auto other = loop.bind_unbound(domid_0);
    other.on_death([&](const error&) { reported = true; });
    loop.close();
  }
  run_until_dry(context);
  EXPECT_FALSE(reported);
}

}  // namespace
}  // namespace xenpv::async
