// Devices that a killed server of the disk left behind, when the next server starts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>

#include "attachment_rig.hpp"

namespace xenpv::ublk::test {
namespace {

using ::testing::HasSubstr;

void leave_device(played_driver& driver, std::uint64_t token, device_state state,
                  std::uint64_t flags = f_user_recovery) {
  dev_info left;
  left.ublksrv_flags = token;
  left.flags = flags;
  const auto number = driver.add(left).dev_id;
  driver.devices[number]->info.state = state;
}

TEST(ublk_attachment, removes_what_a_killed_server_of_the_disk_left_behind) {
  attachment_rig rig;
  leave_device(*rig.driver, 0x5EED, device_state::dead);
  leave_device(*rig.driver, 0xF00D, device_state::dead);
  leave_device(*rig.driver, 0xF00D, device_state::quiesced);
  rig.serve([]() -> asio::awaitable<void> { co_return; });
  EXPECT_EQ(rig.driver->devices[0], nullptr);
  EXPECT_NE(rig.driver->devices[1], nullptr) << "it is of another disk";
  EXPECT_NE(rig.driver->devices[2], nullptr) << "it is of another disk";
}

TEST(ublk_attachment, waits_until_the_kernel_has_stopped_the_device_of_a_killed_server) {
  attachment_rig rig;
  leave_device(*rig.driver, 0x5EED, device_state::live, 0);
  auto story = [&]() -> asio::awaitable<void> {
    asio::co_spawn(
        rig.context,
        [&]() -> asio::awaitable<void> {
          while (rig.driver->last() != "get_info")
            co_await rig.turn();
          rig.driver->stop(0);
        },
        [](std::exception_ptr) {});
    co_await rig.make().start();
    EXPECT_EQ(rig.attached->state(), attachment_state::live);
    EXPECT_EQ(rig.driver->devices[0], nullptr);
    co_await rig.attached->stop();
  };
  run(rig.context, story());
}

TEST(ublk_attachment, gives_up_if_the_kernel_does_not_stop_the_device_of_a_killed_server) {
  attachment_rig rig;
  rig.options.takeover_limit = 60ms;
  leave_device(*rig.driver, 0x5EED, device_state::live, 0);
  EXPECT_THAT(rig.failure_of(rig.make().start()),
              HasSubstr("the kernel has not finished with the previous server"));
  EXPECT_NE(rig.driver->devices[0], nullptr);
}

TEST(ublk_attachment, does_not_create_a_second_device_for_a_disk) {
  for (const auto state : {device_state::quiesced, device_state::live, device_state::fail_io}) {
    attachment_rig rig;
    leave_device(*rig.driver, 0x5EED, state);
    EXPECT_THAT(rig.failure_of(rig.make().start()),
                HasSubstr("a previous server of the disk left /dev/ublkb0 behind; detach it"));
    EXPECT_NE(rig.driver->devices[0], nullptr);
    EXPECT_EQ(rig.driver->devices.size(), 1U);
  }
}

}  // namespace
}  // namespace xenpv::ublk::test
