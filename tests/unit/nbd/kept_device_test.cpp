// A device that outlives its server: one server leaves the device behind, the next takes it over.
#include <gmock/gmock.h>
#include <sys/socket.h>

#include "attachment_rig.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/nbd/kernel_attachment.hpp"

namespace xenpv::nbd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace test;

attachment_options keeping() {
  attachment_options out;
  out.identifier = "xenpv-disk xvdb";
  out.keep = true;
  return out;
}

/// Options for taking over the device that leave_device() leaves.
attachment_options adopting() {
  auto out = keeping();
  out.adopted = 3;
  return out;
}

/// Leaves a device whose server has died: the server's end of the socket is closed, and the kernel
/// has marked the socket as dead.
void leave_device(fake_kernel& kernel, std::uint64_t size = 1U << 20) {
  kernel.with(3, [&](fake_kernel::device& target) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    unique_fd(ends[0]).reset();
    target.sockets.clear();
    target.sockets.emplace_back(ends[1]);
    target.dead = {true};
    target.is_configured = true;
    target.identifier = "xenpv-disk xvdb";
    target.size = size;
  });
}

/// Leaves a device that is half the size of the disk.
void leave_smaller_device(attachment_rig& rig) {
  rig.tree.with("/sys/block/nbd3/backend", "xenpv-disk xvdb\n");
  rig.tree.with("/sys/block/nbd3/size", "1024\n");
  rig.tree.with("/dev/nbd3", "");
  leave_device(rig.kernel, 1U << 19);
}

asio::awaitable<std::string> read_from(attachment_rig& rig, std::uint32_t index) {
  // The rig reads from device 0, so that device gets a duplicate of the socket.
  auto socket = rig.kernel.with(index, [](auto& target) { return target.sockets.at(0).get(); });
  rig.kernel.with(0, [&](fake_kernel::device& target) {
    target.sockets.clear();
    target.sockets.push_back(unique_fd::duplicate(socket));
  });
  auto out = co_await rig.read(0, 0, 4);
  co_return out;
}

TEST(kept_device, is_left_behind_without_a_request_to_the_kernel) {
  attachment_rig rig(keeping());
  rig.tree.with("/sys/block/nbd0/queue/io_timeout", "30000\n");
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    const auto byte = co_await rig.read(0, 0, 1);
    EXPECT_EQ(byte, std::string(1, '\0'));
    rig.attachment->leave_behind();
    EXPECT_FALSE(rig.attachment->is_connected());
    co_await rig.server->stop();
    co_await running.wait();
    co_await rig.attachment->disconnect();
  });
  EXPECT_THAT(rig.kernel.requests(),
              ElementsAre("NBD_CMD_CONNECT size=1048576 id=xenpv-disk xvdb sockets=1"));
}

TEST(kept_device, has_a_short_request_timeout_with_one_connection) {
  for (const std::size_t connections : {1U, 2U}) {
    auto options = keeping();
    options.connections = connections;
    attachment_rig rig(options);
    rig.tree.with("/sys/block/nbd0/queue/io_timeout", "30000\n");
    rig.run([&]() -> asio::awaitable<void> {
      co_await rig.attachment->connect();
      co_await rig.attachment->disconnect();
    });
    EXPECT_EQ(rig.tree.root().read("/sys/block/nbd0/queue/io_timeout"),
              connections == 1 ? "2000" : "30000");
  }
}

TEST(kept_device, gets_sockets_of_a_new_server_without_being_recreated) {
  attachment_rig rig(adopting());
  rig.tree.with("/sys/block/nbd3/backend", "xenpv-disk xvdb\n");
  rig.tree.with("/sys/block/nbd3/size", "2048\n");
  leave_device(rig.kernel);
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    EXPECT_EQ(rig.attachment->path(), "/dev/nbd3");
    EXPECT_TRUE(rig.attachment->is_connected());
    const auto bytes = co_await read_from(rig, 3);
    EXPECT_EQ(bytes, std::string(4, '\0'));
    rig.attachment->leave_behind();
  });
  EXPECT_THAT(rig.kernel.requests(),
              ElementsAre("NBD_CMD_RECONFIGURE nbd3 id=xenpv-disk xvdb sockets=1"));
}

TEST(kept_device, gets_the_timeouts_of_the_new_server) {
  auto options = adopting();
  options.timeout = std::chrono::seconds(7);
  options.dead_timeout = std::chrono::seconds(90);
  attachment_rig rig(options);
  rig.tree.with("/sys/block/nbd3/backend", "xenpv-disk xvdb\n");
  leave_device(rig.kernel);
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    rig.attachment->leave_behind();
  });
  rig.kernel.with(3, [](const fake_kernel::device& device) {
    EXPECT_EQ(device.timeout, 7U);
    EXPECT_EQ(device.dead_timeout, 90U);
  });
}

TEST(kept_device, loses_the_timeout_of_the_previous_server) {
  auto options = adopting();
  options.adopted_timeout = std::chrono::seconds(7);
  attachment_rig rig(options);
  rig.tree.with("/sys/block/nbd3/backend", "xenpv-disk xvdb\n");
  rig.tree.with("/sys/block/nbd3/queue/io_timeout", "7000\n");
  leave_device(rig.kernel);
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    rig.attachment->leave_behind();
  });
  rig.kernel.with(3, [](const fake_kernel::device& device) { EXPECT_EQ(device.timeout, 0U); });
  EXPECT_EQ(rig.tree.root().read("/sys/block/nbd3/queue/io_timeout"), "2000");
}

TEST(kept_device, without_a_request_timeout_gets_no_explicit_0) {
  // Linux before 5.9 would let all requests time out.
  attachment_rig rig(adopting());
  rig.tree.with("/sys/block/nbd3/backend", "xenpv-disk xvdb\n");
  leave_device(rig.kernel);
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    rig.attachment->leave_behind();
  });
  rig.kernel.with(
      3, [](const fake_kernel::device& device) { EXPECT_EQ(device.timeout, std::nullopt); });
}

TEST(kept_device, is_resized_when_the_disk_size_has_changed) {
  attachment_rig rig(adopting());
  leave_smaller_device(rig);
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    co_await rig.until_requested("NBD_CMD_RECONFIGURE nbd3 size=1048576 id=xenpv-disk xvdb");
    rig.attachment->leave_behind();
    co_await rig.server->stop();
    co_await running.wait();
  });
}

TEST(kept_device, is_left_behind_while_the_kernel_reads_its_new_size) {
  attachment_rig rig(adopting());
  leave_smaller_device(rig);
  const hanging_device device(rig, "/dev/nbd3");
  rig.run([&]() -> asio::awaitable<void> {
    co_await rig.attachment->connect();
    background running(rig, rig.attachment->run());
    co_await rig.until_requested("NBD_CMD_RECONFIGURE nbd3 size=1048576 id=xenpv-disk xvdb");
    co_await rig.until([&] { return device.is_being_opened(); });
    rig.attachment->leave_behind();
    co_await rig.server->stop();
    co_await running.wait();
  });
}

TEST(kept_device, cannot_be_taken_over_once_the_kernel_has_released_it) {
  attachment_rig rig(adopting());
  rig.run([&]() -> asio::awaitable<void> {
    std::string problem;
    try {
      co_await rig.attachment->connect();
    } catch (const failure& e) {
      problem = e.what();
    }
    EXPECT_THAT(problem,
                HasSubstr("take over /dev/nbd3: not available here (the kernel has released it)"));
  });
}

}  // namespace
}  // namespace xenpv::nbd
