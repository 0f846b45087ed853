// An event loop's ports and handles after a suspend that may have been a migration.
#include <gmock/gmock.h>

#include "unit/async/fake_evtchn.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::async {
namespace {

using test::device;
using test::run_until_dry;
using ::testing::ElementsAre;

class suspended_event_loop : public ::testing::Test {
 protected:
  ~suspended_event_loop() override { device.clear(); }

  asio::io_context context{1};
};

/// Makes the clocks show that the guest was suspended for an hour.
void suspend(xen::suspend_clock& clock) {
  clock.advance(std::chrono::hours(1));
}

TEST_F(suspended_event_loop, leaves_a_port_bound_before_an_unacknowledged_suspend) {
  xen::suspend_clock suspends;
  int suspends_seen = 0;
  event_loop_options options;
  options.suspends = &suspends;
  options.on_suspend = [&] { ++suspends_seen; };
  event_loop loop(context, options);
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  first = bound_port();
  EXPECT_EQ(device.unbinds, 1) << "no suspend yet";
  suspend(suspends);
  second = bound_port();
  EXPECT_EQ(device.unbinds, 1);
  EXPECT_EQ(loop.statistics().left, 1U);
  EXPECT_EQ(suspends_seen, 1);
  // The suspend was only a checkpoint.
  suspends.acknowledge(suspends.reading());
  auto third = loop.bind_unbound(domid_0);
  third = bound_port();
  EXPECT_EQ(device.unbinds, 2);
}

/// A guest that migrates to a host whose clock is behind: the suspended time does not change, only
/// `incarnation` does.
class lagging_guest final : public xen::suspend_source {
 public:
  std::uint32_t incarnation = 0;
  [[nodiscard]] xen::suspend_reading read() const noexcept override {
    return {std::chrono::hours(1), incarnation};
  }
};

TEST_F(suspended_event_loop, leaves_a_port_bound_before_a_resume_that_no_clock_shows) {
  lagging_guest guest;
  xen::suspend_clock suspends(guest);
  event_loop_options options;
  options.suspends = &suspends;
  event_loop loop(context, options);
  auto before = loop.bind_unbound(domid_0);
  guest.incarnation = 1;
  auto after = loop.bind_unbound(domid_0);
  before = bound_port();
  EXPECT_EQ(device.unbinds, 0);
  EXPECT_EQ(loop.statistics().left, 1U);
  after = bound_port();
  EXPECT_EQ(device.unbinds, 1) << "bound after the resume";
  loop.close();
  EXPECT_EQ(device.handles.size(), 1U) << "the handle is not closed";
}

TEST_F(suspended_event_loop, unbinds_a_port_bound_between_a_resume_and_its_detection) {
  xen::suspend_clock suspends;
  event_loop_options options;
  options.suspends = &suspends;
  event_loop loop(context, options);
  auto before = loop.bind_unbound(domid_0);
  suspend(suspends);
  auto after = loop.bind_unbound(domid_0);
  const auto number = raw(after.number());
  loop.resumed();
  EXPECT_EQ(device.unbinds, 1);
  EXPECT_FALSE(device.ports.contains(number));
  EXPECT_TRUE(device.ports.contains(raw(before.number())));
}

TEST_F(suspended_event_loop, closes_no_handle_after_an_unacknowledged_suspend) {
  xen::suspend_clock suspends;
  event_loop_options options;
  options.suspends = &suspends;
  event_loop loop(context, options);
  auto* const handle = *device.handles.begin();
  auto port = loop.bind_unbound(domid_0);
  suspend(suspends);
  loop.close();
  run_until_dry(context);
  EXPECT_EQ(device.unbinds, 0);
  EXPECT_THAT(device.handles, ElementsAre(handle));
}

}  // namespace
}  // namespace xenpv::async
