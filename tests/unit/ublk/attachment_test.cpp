// The lifetime of a ublk device, with a fake kernel driver and a block device whose requests
// complete immediately or when the test decides.
#include "ublk/attachment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/nursery.hpp"
#include "attachment_rig.hpp"
#include "played_kernel.hpp"
#include "unit/async/run_coroutine.hpp"
#include "unit/nbd/fake_device.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::ublk::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ublk_attachment, creates_starts_stops_and_removes_a_device_in_this_order) {
  attachment_rig rig;
  rig.serve([&]() -> asio::awaitable<void> {
    EXPECT_EQ(rig.attached->state(), attachment_state::live);
    EXPECT_EQ(rig.attached->path(), "/dev/ublkb0");
    EXPECT_EQ(rig.kernel().info.ublksrv_pid, 4711);
    EXPECT_EQ(rig.kernel().info.ublksrv_flags, 0x5EEDU);
    EXPECT_EQ(rig.kernel().info.nr_hw_queues, 2);
    EXPECT_EQ(rig.kernel().info.flags & f_user_recovery, 0U);
    EXPECT_EQ(rig.kernel().parameters.basic.dev_sectors, 2048U);
    co_return;
  });
  EXPECT_EQ(rig.attached->state(), attachment_state::gone);
  EXPECT_THAT(rig.driver->log, ElementsAre("features", "add", "set_params", "open", "start",
                                           "write_back", "stop", "remove"));
  EXPECT_EQ(rig.driver->devices[0], nullptr);
}

TEST(ublk_attachment, serves_each_queue) {
  attachment_rig rig;
  rig.serve([&]() -> asio::awaitable<void> {
    const std::string data(4096, 'x');
    for (std::size_t i = 0; i < 2; ++i) {
      const auto written = rig.kernel().submit(i, {io_operation::write, 0, 8 + i * 8, 8, data});
      co_await rig.finished(written);
      EXPECT_EQ(written->result, 4096);
      const auto got = rig.kernel().submit(1 - i, {io_operation::read, 0, 8 + i * 8, 8, {}});
      co_await rig.finished(got);
      EXPECT_EQ(got->data, data);
    }
  });
  EXPECT_THAT(rig.device.queue(0).log, Contains("write 4096+4096 pages"));
  EXPECT_THAT(rig.device.queue(1).log, Contains("write 8192+4096 pages"));
}

TEST(ublk_attachment, creates_a_device_with_the_requested_number) {
  attachment_rig rig;
  rig.options.index = 3;
  rig.serve([&]() -> asio::awaitable<void> {
    EXPECT_EQ(rig.attached->path(), "/dev/ublkb3");
    auto options = rig.options;
    options.token = 0xF00D;
    attachment second(rig.context.get_executor(), rig.device, rig.geometry, rig.driver, options);
    std::string problem;
    try {
      co_await second.start();
    } catch (const failure& refused) {
      problem = refused.what();
    }
    EXPECT_THAT(problem, HasSubstr("file exists"));
  });
}

TEST(ublk_attachment, uses_as_many_queues_as_the_kernel_grants) {
  attachment_rig rig(4);
  rig.driver->most_queues = 1;
  rig.serve([&]() -> asio::awaitable<void> {
    EXPECT_EQ(rig.attached->plan().queues, 1);
    const auto got = rig.kernel().submit(0, {.sectors = 8});
    co_await rig.finished(got);
    EXPECT_EQ(got->result, 4096);
  });
}

TEST(ublk_attachment, does_not_create_a_device_with_an_old_driver) {
  attachment_rig rig;
  rig.driver->offered = f_cmd_ioctl_encode;
  EXPECT_THAT(rig.failure_of(rig.make().start()), HasSubstr("Linux 6.5"));
  EXPECT_THAT(rig.driver->log, ElementsAre("features"));
}

TEST(ublk_attachment, removes_a_device_that_cannot_start) {
  for (const auto* const command : {"set_params", "open", "start"}) {
    SCOPED_TRACE(command);
    attachment_rig rig;
    rig.driver->failing = command;
    EXPECT_THAT(rig.failure_of(rig.make().start()), HasSubstr(command));
    EXPECT_THAT(rig.driver->log, Contains("remove"));
    EXPECT_EQ(rig.driver->devices[0], nullptr);
  }
  attachment_rig rig;
  rig.driver->failing = "add";
  EXPECT_THAT(rig.failure_of(rig.make().start()), HasSubstr("add"));
  EXPECT_THAT(rig.driver->log, Not(Contains("remove")));
}

TEST(ublk_attachment, gives_up_when_the_backend_does_not_answer_the_partition_scan) {
  attachment_rig rig(1, {.answers = false});
  rig.options.start_limit = 20ms;
  EXPECT_THAT(rig.failure_of(rig.make().start()), HasSubstr("the backend does not answer"));
  EXPECT_EQ(rig.driver->devices[0], nullptr);
}

TEST(ublk_attachment, stops_only_after_the_requests_in_flight) {
  attachment_rig rig(1);
  std::shared_ptr<user_request> got;
  rig.serve([&]() -> asio::awaitable<void> {
    rig.device.queue(0).answers = false;
    got = rig.kernel().submit(0, {.sectors = 8});
    while (rig.device.queue(0).waiting.empty())
      co_await rig.turn();
    // Answers while the kernel waits in STOP_DEV.
    asio::co_spawn(
        rig.context,
        [&]() -> asio::awaitable<void> {
          while (rig.driver->last() != "stop")
            co_await rig.turn();
          EXPECT_FALSE(got->is_done);
          rig.device.queue(0).answer();
        },
        [](std::exception_ptr) {});
  });
  EXPECT_EQ(got->result, 4096);
}

TEST(ublk_attachment, fails_requests_that_the_backend_does_not_complete) {
  attachment_rig rig(1);
  rig.options.drain_limit = 20ms;
  std::shared_ptr<user_request> got;
  rig.serve([&]() -> asio::awaitable<void> {
    rig.device.queue(0).answers = false;
    got = rig.kernel().submit(0, {.sectors = 8});
    while (rig.device.queue(0).waiting.empty())
      co_await rig.turn();
  });
  EXPECT_EQ(got->result, -EIO);
  EXPECT_EQ(rig.attached->state(), attachment_state::gone);
  EXPECT_EQ(rig.device.queue(0).waiting.size(), 1U) << "the device still has it";
}

TEST(ublk_attachment, lets_a_slow_disk_complete_its_requests_when_it_stops) {
  attachment_rig rig(1);
  rig.options.drain_limit = 400ms;
  constexpr std::size_t count = 8;
  std::vector<std::shared_ptr<user_request>> requests;
  const auto begin = std::chrono::steady_clock::now();
  rig.serve([&]() -> asio::awaitable<void> {
    rig.device.queue(0).answers = false;
    for (std::size_t i = 0; i < count; ++i)
      requests.push_back(rig.kernel().submit(0, {.sectors = 8}));
    while (rig.device.queue(0).waiting.size() < count)
      co_await rig.turn();
    asio::co_spawn(
        rig.context,
        [&]() -> asio::awaitable<void> {
          asio::steady_timer timer(rig.context);
          for (std::size_t i = 0; i < count; ++i) {
            timer.expires_after(100ms);
            co_await timer.async_wait(asio::use_awaitable);
            rig.device.queue(0).answer();
          }
        },
        [](std::exception_ptr) {});
  });
  EXPECT_GT(std::chrono::steady_clock::now() - begin, rig.options.drain_limit)
      << "it took longer than the limit for one request";
  for (const auto& request : requests)
    EXPECT_EQ(request->result, 4096);
}

TEST(ublk_attachment, ends_when_another_process_stops_the_device) {
  attachment_rig rig;
  auto story = [&]() -> asio::awaitable<void> {
    auto& made = rig.make();
    co_await made.start();
    rig.driver->stop(0);
    co_await made.run();
    EXPECT_EQ(made.state(), attachment_state::gone);
    // Has no effect any more.
    co_await made.stop();
  };
  run(rig.context, story());
  EXPECT_EQ(rig.driver->log.back(), "remove");
  EXPECT_EQ(rig.driver->devices[0], nullptr);
}

TEST(ublk_attachment, passes_a_new_size_to_a_kernel_that_can_change_it) {
  attachment_rig rig;
  rig.driver->offered |= f_update_size;
  rig.serve([&]() -> asio::awaitable<void> {
    EXPECT_TRUE(rig.attached->can_resize());
    rig.geometry.size *= 2;
    rig.attached->reshape(rig.geometry);
    while (rig.kernel_sectors() != 4096)
      co_await rig.turn();
    rig.attached->reshape(rig.geometry);
  });
  EXPECT_EQ(std::ranges::count(rig.driver->log, "update_size"), 1);
}

TEST(ublk_attachment, continues_with_the_previous_size_if_the_kernel_refuses_the_new_one) {
  attachment_rig rig;
  rig.driver->offered |= f_update_size;
  rig.driver->failing = "update_size";
  rig.serve([&]() -> asio::awaitable<void> {
    rig.geometry.size *= 2;
    rig.attached->reshape(rig.geometry);
    while (rig.driver->last() != "update_size")
      co_await rig.turn();
    const auto got = rig.kernel().submit(0, {.sectors = 8});
    co_await rig.finished(got);
    EXPECT_EQ(got->result, 4096);
    EXPECT_EQ(rig.attached->state(), attachment_state::live);
  });
  EXPECT_EQ(rig.attached->state(), attachment_state::gone);
}

TEST(ublk_attachment, keeps_the_size_where_the_kernel_cannot_change_it) {
  attachment_rig rig;
  rig.serve([&]() -> asio::awaitable<void> {
    EXPECT_FALSE(rig.attached->can_resize());
    rig.geometry.size *= 2;
    rig.attached->reshape(rig.geometry);
    const auto got = rig.kernel().submit(0, {.sectors = 8});
    co_await rig.finished(got);
    EXPECT_EQ(got->result, 4096);
  });
  EXPECT_THAT(rig.driver->log, Not(Contains("update_size")));
}

TEST(ublk_attachment, leaves_a_device_for_the_next_server) {
  attachment_rig rig(1);
  rig.options.keep = true;
  const std::string data(4096, 'k');
  std::shared_ptr<user_request> served;
  std::shared_ptr<user_request> later;
  auto story = [&]() -> asio::awaitable<void> {
    auto& first = rig.make();
    co_await first.start();
    EXPECT_EQ(rig.kernel().info.flags & f_user_recovery_reissue, f_user_recovery_reissue);
    served = rig.kernel().submit(0, {io_operation::write, 0, 0, 8, data});
    co_await rig.finished(served);
    co_await first.leave();
    EXPECT_EQ(first.state(), attachment_state::left);
    EXPECT_EQ(rig.kernel().info.state, device_state::quiesced);
    later = rig.kernel().submit(0, {io_operation::read, 0, 0, 8, {}});
    co_await rig.turn();
    EXPECT_FALSE(later->is_done);
    rig.options.adopted = 0;
    rig.options.process = 4712;
    rig.kernel().busy_recoveries = 2;
    auto& next = rig.make();
    co_await next.start();
    EXPECT_EQ(rig.kernel().info.ublksrv_pid, 4712);
    co_await rig.finished(later);
    co_await next.stop();
  };
  run(rig.context, story());
  EXPECT_EQ(later->data, data);
  EXPECT_THAT(rig.driver->log, Contains("limit_requests 2000"));
  EXPECT_THAT(rig.driver->log, Contains("start_recovery").Times(3));
  EXPECT_EQ(rig.driver->devices[0], nullptr);
}

TEST(ublk_attachment, completes_requests_in_flight_before_it_leaves) {
  attachment_rig rig(1);
  rig.options.keep = true;
  auto story = [&]() -> asio::awaitable<void> {
    auto& first = rig.make();
    co_await first.start();
    rig.device.queue(0).answers = false;
    const auto sent = rig.kernel().submit(0, {.sectors = 8});
    while (rig.device.queue(0).waiting.empty())
      co_await rig.turn();
    asio::post(rig.context, [&] { rig.device.queue(0).answer(); });
    co_await first.leave();
    EXPECT_TRUE(sent->is_done);
    EXPECT_EQ(sent->deliveries, 1U);
  };
  run(rig.context, story());
}

// A server that dies, as the kernel sees it: the queues and the device are closed at any time.
TEST(ublk_attachment, replays_requests_that_a_server_has_not_completed) {
  attachment_rig rig(1);
  rig.options.keep = true;
  rig.options.drain_limit = 10ms;
  const std::string data(4096, 'r');
  auto story = [&]() -> asio::awaitable<void> {
    auto& first = rig.make();
    co_await first.start();
    rig.device.queue(0).answers = false;
    const auto sent = rig.kernel().submit(0, {io_operation::write, 0, 8, 8, data});
    while (rig.device.queue(0).waiting.empty())
      co_await rig.turn();
    co_await first.leave();
    EXPECT_FALSE(sent->is_done);
    rig.device.queue(0).answer();  // to the first server, which has no device any more
    rig.device.queue(0).answers = true;
    rig.options.adopted = 0;
    auto& next = rig.make();
    co_await next.start();
    co_await rig.finished(sent);
    EXPECT_EQ(sent->result, 4096);
    EXPECT_EQ(sent->deliveries, 2U);
    co_await next.stop();
  };
  run(rig.context, story());
}

TEST(ublk_attachment, does_not_take_over_a_device_of_another_disk) {
  attachment_rig rig;
  rig.options.keep = true;
  auto story = [&]() -> asio::awaitable<void> {
    co_await rig.make().start();
    co_await rig.attached->leave();
  };
  run(rig.context, story());
  rig.options.adopted = 0;
  rig.options.token = 1;
  EXPECT_THAT(rig.failure_of(rig.make().start()), HasSubstr("is not of this disk"));
  rig.options.token = 0x5EED;
  rig.options.read_only = true;
  EXPECT_THAT(rig.failure_of(rig.make().start()), HasSubstr("it is writable"));
  EXPECT_THAT(rig.driver->log, Not(Contains("start_recovery")));
  EXPECT_NE(rig.driver->devices[0], nullptr);
  rig.options.adopted = 7;
  EXPECT_THAT(rig.failure_of(rig.make().start()), HasSubstr("no longer exists"));
}

TEST(ublk_attachment, waits_only_so_long_for_the_previous_server) {
  attachment_rig rig;
  rig.options.keep = true;
  auto story = [&]() -> asio::awaitable<void> {
    co_await rig.make().start();
    co_await rig.attached->leave();
  };
  run(rig.context, story());
  rig.kernel().busy_recoveries = 1000;
  rig.options.adopted = 0;
  rig.options.takeover_limit = 20ms;
  EXPECT_THAT(rig.failure_of(rig.make().start()), HasSubstr("previous server"));
  EXPECT_NE(rig.driver->devices[0], nullptr);
}

TEST(ublk_attachment, lets_another_control_make_the_later_requests) {
  attachment_rig rig;
  const auto later = std::make_shared<played_driver>();
  rig.serve([&]() -> asio::awaitable<void> {
    later->devices = rig.driver->devices;
    rig.attached->use(later);
    co_return;
  });
  EXPECT_THAT(later->log, ElementsAre("write_back", "stop", "remove"));
  EXPECT_THAT(rig.driver->log, Not(Contains("stop")));
}

}  // namespace
}  // namespace xenpv::ublk::test
