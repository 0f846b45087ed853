#include "xenpv/nbd/kernel_attachment.hpp"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include <filesystem>

#include "attachment_rig.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using namespace test;

/// Returns the message that `body` throws, or "" if it does not throw.
asio::awaitable<std::string> failure_of(asio::awaitable<void> body) {
  std::string out;
  try {
    co_await std::move(body);
  } catch (const std::exception& e) {
    out = e.what();
  }
  co_return out;
}

attachment_options with_two_connections() {
  attachment_options out;
  out.connections = 2;
  out.identifier = "xvdb";
  return out;
}

TEST(kernel_attachment, creates_a_device_that_the_server_serves) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    EXPECT_EQ(rig.attachment->path(), "/dev/nbd0");
    EXPECT_EQ(rig.attachment->index(), 0u);
    rig.kernel.with(0, [&](fake_kernel::device& target) {
      EXPECT_EQ(target.size, 1u << 20);
      EXPECT_EQ(target.block_size, 512u);
      EXPECT_EQ(target.flags, rig.server->transmission_flags());
      EXPECT_EQ(target.flags & (wire::nbd_flag_send_flush | wire::nbd_flag_can_multi_conn),
                wire::nbd_flag_send_flush | wire::nbd_flag_can_multi_conn);
      EXPECT_EQ(target.flags & (wire::nbd_flag_read_only | wire::nbd_flag_send_df), 0u);
      EXPECT_EQ(target.identifier, "xvdb");
      EXPECT_THAT(target.sockets, SizeIs(2));
    });
    // Both sockets access the same disk, each through its own queue.
    co_await rig.write(0, 4096, std::string(8192, 'a'));
    const auto back = co_await rig.read(1, 4096, 8192);
    EXPECT_EQ(back, std::string(8192, 'a'));
    const auto clients = co_await rig.server->clients();
    std::vector<std::size_t> queues;
    for (const auto& client : clients) {
      EXPECT_EQ(client.peer, "kernel");
      queues.push_back(client.queue);
    }
    EXPECT_THAT(queues, UnorderedElementsAre(0, 1));
    co_await rig.attachment->disconnect();
  });
}

TEST(kernel_attachment, disables_the_kernels_request_timeout_unless_a_limit_was_requested) {
  struct limit_case {
    std::size_t connections;
    std::chrono::seconds timeout;
    const char* limit;
  };
  // With one connection, the driver keeps waiting for a request that has reached the limit.
  for (const auto& item : {limit_case{2, std::chrono::seconds(0), "2147483647"},
                           limit_case{1, std::chrono::seconds(0), "30000"},
                           limit_case{2, std::chrono::seconds(5), "30000"}}) {
    auto options = with_two_connections();
    options.connections = item.connections;
    options.timeout = item.timeout;
    attachment_rig rig(options);
    rig.tree.with("/sys/block/nbd0/queue/io_timeout", "30000\n");
    rig.run([&]() -> asio::awaitable<void> {
      co_await rig.attachment->connect();
      co_await rig.attachment->disconnect();
    });
    EXPECT_EQ(rig.tree.root().read("/sys/block/nbd0/queue/io_timeout"), item.limit)
        << item.connections << " " << item.timeout.count();
  }
}

TEST(kernel_attachment, may_exceed_the_connection_limit_of_the_server) {
  auto options = with_two_connections();
  options.connections = 20;
  attachment_rig rig(options);
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    const auto byte = co_await rig.read(19, 0, 1);
    EXPECT_EQ(byte, std::string(1, '\0'));
    co_await rig.attachment->disconnect();
  });
}

TEST(kernel_attachment, explains_why_the_kernel_refuses_a_device) {
  attachment_rig rig(with_two_connections());
  rig.kernel.refuse(driver_command::connect, EPERM);
  rig.run([&]() -> asio::awaitable<void> {
    auto connecting = rig.attachment->connect();
    const auto problem = co_await failure_of(std::move(connecting));
    EXPECT_EQ(problem,
              "connect a kernel NBD device: operation not permitted "
              "(CAP_SYS_ADMIN is needed; are you root?)");
    // The attachment has closed the sockets intended for the kernel.
    co_await rig.until([&] { return rig.server->statistics().connections == 0; });
    co_await rig.attachment->disconnect();
  });
  EXPECT_THAT(rig.kernel.requests(), SizeIs(1)) << "there was nothing to disconnect";
}

TEST(kernel_attachment, waits_for_a_device_that_is_only_open) {
  auto options = with_two_connections();
  options.index = 0;
  attachment_rig rig(options);
  rig.kernel.with(0, [](fake_kernel::device& target) { target.is_open = true; });
  rig.run([&]() -> asio::awaitable<void> {
    background connecting(rig, rig.attachment->connect());
    co_await rig.until_requested("NBD_CMD_CONNECT nbd0 size=1048576 id=xvdb sockets=2");
    rig.kernel.with(0, [](fake_kernel::device& target) { target.is_open = false; });
    co_await connecting.wait();
    co_await rig.attachment->disconnect();
  });
}

TEST(kernel_attachment, does_not_wait_for_a_device_that_is_connected) {
  auto options = with_two_connections();
  options.index = 0;
  attachment_rig rig(options);
  rig.tree.with("/sys/block/nbd0/pid", "4711\n");
  rig.kernel.with(0, [](fake_kernel::device& target) { target.is_configured = true; });
  rig.run([&]() -> asio::awaitable<void> {
    auto connecting = rig.attachment->connect();
    const auto problem = co_await failure_of(std::move(connecting));
    EXPECT_EQ(problem,
              "connect /dev/nbd0: device or resource busy (it is in use; "
              "see /sys/block/nbd0/pid)");
  });
  EXPECT_THAT(rig.kernel.requests(), SizeIs(1));
}

TEST(kernel_attachment, disconnects_a_device_that_cannot_be_opened) {
  attachment_rig rig(with_two_connections());
  std::filesystem::remove(rig.tree.root().path("/dev/nbd0"));
  rig.run([&]() -> asio::awaitable<void> {
    auto connecting = rig.attachment->connect();
    const auto problem = co_await failure_of(std::move(connecting));
    EXPECT_EQ(problem,
              "open /dev/nbd0: no such file or directory (the kernel created the device, but this "
              "system has no device node for it)");
  });
  EXPECT_EQ(rig.kernel.requests().back(), "NBD_CMD_DISCONNECT nbd0");
}

TEST(kernel_attachment, disconnects_a_device_that_does_not_respond) {
  auto options = with_two_connections();
  options.open_limit = std::chrono::milliseconds(20);
  attachment_rig rig(options);
  const hanging_device device(rig);
  rig.run([&]() -> asio::awaitable<void> {
    auto connecting = rig.attachment->connect();
    const auto problem = co_await failure_of(std::move(connecting));
    EXPECT_THAT(problem, HasSubstr("open /dev/nbd0: timed out"));
  });
  EXPECT_EQ(rig.kernel.requests().back(), "NBD_CMD_DISCONNECT nbd0");
}

TEST(kernel_attachment, disconnects_a_device_when_cancelled_while_it_is_opened) {
  attachment_rig rig(with_two_connections());
  const hanging_device device(rig);
  rig.run([&]() -> asio::awaitable<void> {
    background connecting(rig, rig.attachment->connect());
    co_await rig.until([&] { return !rig.attachment->path().empty(); });
    connecting.cancel();
    auto ending = connecting.wait();
    const auto problem = co_await failure_of(std::move(ending));
    EXPECT_NE(problem, "");
  });
  EXPECT_EQ(rig.kernel.requests().back(), "NBD_CMD_DISCONNECT nbd0");
}

TEST(kernel_attachment, ends_when_another_process_disconnects_the_device) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    rig.kernel.disconnect(0);
    co_await running.wait();
    co_await rig.attachment->disconnect();
  });
  EXPECT_THAT(rig.kernel.requests(), SizeIs(1)) << "another process may own the device by now";
}

TEST(kernel_attachment, ends_when_the_kernel_has_released_the_device_without_notice) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    rig.kernel.with(0, [](fake_kernel::device& target) {
      target.is_configured = false;
      target.sockets.clear();
    });
    co_await running.wait();
  });
  EXPECT_EQ(rig.kernel.requests().back(), "NBD_CMD_STATUS nbd0");
}

TEST(kernel_attachment, ends_when_a_released_device_is_only_held_open) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    rig.kernel.with(0, [](fake_kernel::device& target) {
      target.is_configured = false;
      target.is_open = true;
      target.sockets.clear();
    });
    co_await running.wait();
  });
}

TEST(kernel_attachment, replaces_a_dead_socket) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    rig.kernel.kill_link(0, 1);
    co_await rig.until_requested("NBD_CMD_RECONFIGURE nbd0 id=xvdb sockets=1");
    co_await rig.until(
        [&] { return rig.kernel.with(0, [](auto& target) { return !target.dead[1]; }); });
    co_await rig.write(1, 0, "over the new one");
    const auto back = co_await rig.read(0, 0, 16);
    EXPECT_EQ(back, "over the new one");
    EXPECT_FALSE(running.is_over());
    co_await rig.attachment->disconnect();
    co_await running.wait();
  });
}

TEST(kernel_attachment, retries_until_the_kernel_treats_the_socket_as_dead) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    rig.kernel.with(
        0, [](fake_kernel::device& target) { ::shutdown(target.sockets[0].get(), SHUT_RDWR); });
    // The kernel drops the new sockets, because it has not marked the old one as dead.
    co_await rig.until([&] { return rig.kernel.requests().size() >= 5; });
    rig.kernel.with(0, [](fake_kernel::device& target) { target.dead[0] = true; });
    co_await rig.until(
        [&] { return rig.kernel.with(0, [](auto& target) { return !target.dead[0]; }); });
    const auto byte = co_await rig.read(0, 0, 1);
    EXPECT_EQ(byte, std::string(1, '\0'));
    co_await rig.attachment->disconnect();
    co_await running.wait();
  });
}

TEST(kernel_attachment, gives_up_when_the_kernel_accepts_no_socket) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    rig.kernel.with(
        0, [](fake_kernel::device& target) { ::shutdown(target.sockets[0].get(), SHUT_RDWR); });
    // Notifications shorten the pauses between the attempts.
    co_await rig.until([&] {
      if (!running.is_over()) rig.kernel.notify_dead_link(0);
      return running.is_over();
    });
    auto ending = running.wait();
    const auto problem = co_await failure_of(std::move(ending));
    EXPECT_EQ(problem,
              "keep /dev/nbd0: connection lost (every new connection dies "
              "immediately)");
    co_await rig.attachment->disconnect();
  });
  EXPECT_EQ(rig.kernel.requests().back(), "NBD_CMD_DISCONNECT nbd0");
}

TEST(kernel_attachment, replaces_a_socket_only_when_its_requests_are_answered) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    auto stall = [&] { rig.disk->stall(0, true); };
    co_await rig.on_queue(0, stall);
    rig.send_read(0);
    for (std::size_t waiting = 0; waiting == 0;) {
      auto look = [&] { return rig.disk->waiting(0); };
      waiting = co_await rig.on_queue(0, look);
    }
    rig.kernel.kill_link(0, 0);
    // Link 1 has no requests in flight, so its replacement does not wait. If the attachment did not
    // wait for link 0's request either, it would have replaced both links by then.
    rig.kernel.kill_link(0, 1);
    co_await rig.until(
        [&] { return rig.kernel.with(0, [](auto& target) { return !target.dead[0]; }); });
    EXPECT_TRUE(rig.kernel.with(0, [](auto& target) { return target.dead[1]; }))
        << "the kernel assigns the first new socket to the first free slot";
    EXPECT_EQ(rig.kernel.requests().back(), "NBD_CMD_RECONFIGURE nbd0 id=xvdb sockets=1");
    auto resume = [&] { rig.disk->stall(0, false); };
    co_await rig.on_queue(0, resume);
    co_await rig.until(
        [&] { return rig.kernel.with(0, [](auto& target) { return !target.dead[1]; }); });
    co_await rig.attachment->disconnect();
    co_await running.wait();
  });
}

TEST(kernel_attachment, lets_the_kernel_send_requests_as_large_as_those_of_the_disk) {
  attachment_rig rig;
  rig.tree.with("/sys/block/nbd0/queue/max_hw_sectors_kb", "32768\n");
  rig.tree.with("/sys/block/nbd0/queue/max_sectors_kb", "64\n");
  rig.tree.with("/sys/block/nbd0/queue/scheduler", "[mq-deadline] none\n");
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    co_await rig.attachment->disconnect();
  });
  // The disk has no preference.
  EXPECT_EQ(rig.tree.root().read("/sys/block/nbd0/queue/max_sectors_kb"), "128");
  EXPECT_EQ(rig.tree.root().read("/sys/block/nbd0/queue/scheduler"), "none");
}

TEST(kernel_attachment, resizes_the_kernel_device) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    auto shape = rig.disk->queue(0).shape();
    shape.size = 2 << 20;
    rig.server->reshape(*rig.disk, shape);
    rig.attachment->reshape(shape);
    co_await rig.until_requested("NBD_CMD_RECONFIGURE nbd0 size=2097152 id=xvdb");
    const auto beyond = co_await rig.read(0, 3 << 19, 4);
    EXPECT_EQ(beyond, std::string(4, '\0'));
    co_await rig.attachment->disconnect();
    co_await running.wait();
  });
}

TEST(kernel_attachment, warns_when_the_kernel_keeps_the_old_size) {
  attachment_rig rig(with_two_connections());
  rig.tree.with("/sys/block/nbd0/size", "2048\n");
  ::testing::internal::CaptureStderr();
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    auto shape = rig.disk->queue(0).shape();
    shape.size = 2 << 20;
    rig.attachment->reshape(shape);
    co_await rig.until_requested("NBD_CMD_RECONFIGURE nbd0 size=2097152 id=xvdb");
    // By the time this request is sent, the size has been checked.
    rig.kernel.kill_link(0, 0);
    co_await rig.until_requested("NBD_CMD_RECONFIGURE nbd0 id=xvdb sockets=1");
    co_await rig.attachment->disconnect();
    co_await running.wait();
  });
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("/dev/nbd0: the kernel still uses 1048576 bytes, but the disk has 2097152; "
                        "detach and reattach it"));
}

TEST(kernel_attachment, keeps_the_device_when_cancelled) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    running.cancel();
    auto ending = running.wait();
    const auto problem = co_await failure_of(std::move(ending));
    EXPECT_THAT(problem, HasSubstr("cancel"));
    const auto byte = co_await rig.read(0, 0, 1);
    EXPECT_EQ(byte, std::string(1, '\0'));
    co_await rig.attachment->disconnect();
  });
}

TEST(kernel_attachment, disconnects_only_once) {
  attachment_rig rig(with_two_connections());
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->disconnect();
    EXPECT_THAT(rig.kernel.requests(), ElementsAre()) << "nothing to disconnect yet";
    EXPECT_FALSE(rig.attachment->is_connected());
    co_await rig.attachment->connect();
    EXPECT_TRUE(rig.attachment->is_connected());
    background running(rig, rig.attachment->run());
    co_await rig.attachment->disconnect();
    EXPECT_FALSE(rig.attachment->is_connected());
    co_await rig.attachment->disconnect();
    co_await running.wait();
  });
  EXPECT_THAT(rig.kernel.requests(), ElementsAre("NBD_CMD_CONNECT size=1048576 id=xvdb sockets=2",
                                                 "NBD_CMD_DISCONNECT nbd0"));
}

TEST(kernel_attachment, hangs_up_on_a_kernel_that_does_not_finish) {
  auto options = with_two_connections();
  options.drain_limit = std::chrono::milliseconds(20);
  attachment_rig rig(options);
  rig.kernel.wait_for_hang_up();
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    co_await rig.attachment->disconnect();
    co_await running.wait();
  });
}

TEST(kernel_attachment, warns_when_the_kernel_does_not_release_the_device) {
  attachment_rig rig(with_two_connections());
  ::testing::internal::CaptureStderr();
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    rig.kernel.refuse(driver_command::disconnect, EPERM);
    co_await rig.attachment->disconnect();
  });
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("disconnect /dev/nbd0: operation not permitted (CAP_SYS_ADMIN is needed; "
                        "are you root?)"));
}

}  // namespace
}  // namespace xenpv::nbd
