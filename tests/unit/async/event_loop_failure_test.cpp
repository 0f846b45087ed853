// What a loop does once it cannot read its device any more, and whom it tells.
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

  /// Handles all that is ready; the loop's own read stays behind.
  void turn() { context.poll(); }

  asio::io_context context{1};
};

/// The device of the only handle ends.
void end_device() {
  ::close(std::exchange((*device.handles.begin())->write_end, -1));
}

TEST_F(failing_event_loop, binds_nothing_that_it_would_never_hear) {
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
  EXPECT_NO_THROW(static_cast<void>(loop.bind_unbound(domid_0))) << "the handle is a new one";
}

TEST_F(failing_event_loop, tells_the_owners_of_callbacks_that_it_hears_nothing_any_more) {
  event_loop loop(context);
  std::vector<std::string> told;
  auto first = loop.bind_unbound(domid_0);
  auto second = loop.bind_unbound(domid_0);
  auto third = loop.bind_unbound(domid_0);
  first.on_event([] {});
  // It may close its own port and others.
  first.on_death([&](const error& why) {
    told.push_back("first: " + why.text);
    first = bound_port();
    second = bound_port();
  });
  second.on_death([&](const error&) { told.emplace_back("second"); });
  third.on_death([&](const error&) { told.emplace_back("third"); });
  third.on_death({});
  end_device();
  EXPECT_THROW(turn(), failure);
  ASSERT_EQ(told.size(), 2U);
  EXPECT_THAT(told[0], HasSubstr("first: read pending ports of evtchn:"));
  EXPECT_EQ(told[1], "second");
}

TEST_F(failing_event_loop, tells_nobody_of_a_death_that_somebody_caused) {
  bool told = false;
  {
    event_loop loop(context);
    auto port = loop.bind_unbound(domid_0);
    port.on_death([&](const error&) { told = true; });
    loop.resumed();
    EXPECT_THROW(port.on_death([](const error&) {}), failure);
    auto other = loop.bind_unbound(domid_0);
    other.on_death([&](const error&) { told = true; });
    loop.close();
  }
  run_until_dry(context);
  EXPECT_FALSE(told);
}

}  // namespace
}  // namespace xenpv::async
