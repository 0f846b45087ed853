#include "xenpv/nbd/kernel_driver.hpp"

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>

#include "bytes.hpp"
#include "fake_kernel.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd {
namespace {

using test::fake_kernel;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Returns the message that `body` throws, or "" if it does not throw.
template <class Function>
std::string failure_of(Function body, std::error_code code = {}) {
  try {
    body();
  } catch (const failure& e) {
    if (code) {
      EXPECT_EQ(e.code(), code);
    }
    return e.what();
  }
  return "";
}

class kernel_driver_test : public ::testing::Test {
 protected:
  kernel_driver_test() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    socket.reset(pair[0]);
    other_end.reset(pair[1]);
    config.size = 1 << 20;
    config.block_size = 4096;
    config.flags = 0x105;
    config.sockets = {socket.get()};
    config.identifier = "xvdb";
  }

  fake_kernel kernel;
  unique_fd socket;
  unique_fd other_end;
  kernel_device_config config;
};

TEST_F(kernel_driver_test, explains_how_to_load_the_driver) {
  kernel.unload();
  EXPECT_EQ(failure_of([&] { (void)kernel.driver(); }, make_error_code(errc::not_available)),
            "find the kernel NBD driver: not available here (its module is not loaded; as root: "
            "modprobe nbd)");
}

TEST(kernel_driver, finds_the_real_driver_or_explains_how_to_load_it) {
  const auto text = failure_of([] { (void)kernel_driver::open(); });
  if (!text.empty()) {
    EXPECT_THAT(text, HasSubstr(": not available here"));
  }
}

TEST_F(kernel_driver_test, connects_the_device_that_the_kernel_chooses) {
  kernel.with(0, [](fake_kernel::device& target) { target.is_open = true; });
  auto driver = kernel.driver();
  config.timeout = std::chrono::seconds(30);
  config.dead_timeout = std::chrono::seconds(60);
  EXPECT_EQ(driver.connect(config), 1u);
  kernel.with(1, [](fake_kernel::device& target) {
    EXPECT_EQ(target.size, 1u << 20);
    EXPECT_EQ(target.block_size, 4096u);
    EXPECT_EQ(target.flags, 0x105u);
    EXPECT_EQ(target.timeout, 30u);
    EXPECT_EQ(target.dead_timeout, 60u);
    EXPECT_EQ(target.identifier, "xvdb");
    ASSERT_EQ(target.sockets.size(), 1u);
    EXPECT_EQ(::send(target.sockets[0].get(), "x", 1, 0), 1);
  });
  char byte = 0;
  EXPECT_EQ(::recv(other_end.get(), &byte, 1, 0), 1) << "it is the same socket";
}

TEST_F(kernel_driver_test, omits_unset_limits) {
  auto driver = kernel.driver();
  (void)driver.connect(config);
  kernel.with(0, [](fake_kernel::device& target) {
    EXPECT_EQ(target.timeout, std::nullopt);
    EXPECT_EQ(target.dead_timeout, std::nullopt);
  });
}

TEST_F(kernel_driver_test, connects_the_requested_device) {
  auto driver = kernel.driver();
  config.index = 7;
  EXPECT_EQ(driver.connect(config), 7u);
  EXPECT_THAT(kernel.requests(),
              ElementsAre("NBD_CMD_CONNECT nbd7 size=1048576 id=xvdb sockets=1"));
}

TEST_F(kernel_driver_test, omits_the_identifier_if_the_kernel_does_not_support_it) {
  kernel.reject_identifiers();
  auto driver = kernel.driver();
  EXPECT_EQ(driver.connect(config), 0u);
  driver.resize(0, 8192, 512);
  EXPECT_THAT(kernel.requests(), ElementsAre("NBD_CMD_CONNECT size=1048576 id=xvdb sockets=1",
                                             "NBD_CMD_CONNECT size=1048576 sockets=1",
                                             "NBD_CMD_RECONFIGURE nbd0 size=8192"));
}

TEST_F(kernel_driver_test, repeats_the_identifier_with_every_change) {
  auto driver = kernel.driver();
  (void)driver.connect(config);
  driver.resize(0, 8192, 512);
  EXPECT_THAT(kernel.requests().back(), "NBD_CMD_RECONFIGURE nbd0 size=8192 id=xvdb");
  EXPECT_EQ(kernel.with(0, [](fake_kernel::device& target) { return target.size; }), 8192u);
}

TEST_F(kernel_driver_test, suggests_a_remedy_when_a_device_cannot_be_connected) {
  auto driver = kernel.driver();
  const auto connect = [&] { (void)driver.connect(config); };
  const auto errno_code = [](int value) { return std::error_code(value, std::generic_category()); };

  kernel.refuse(driver_command::connect, EPERM);
  EXPECT_EQ(failure_of(connect, errno_code(EPERM)),
            "connect a kernel NBD device: operation not permitted (CAP_SYS_ADMIN "
            "is needed; are you root?)");
  kernel.refuse(driver_command::connect, ENOSPC);
  EXPECT_EQ(failure_of(connect, errno_code(ENOSPC)),
            "connect a kernel NBD device: no space left on device (the kernel "
            "could not create another device; load its module nbd with a larger nbds_max)");

  config.index = 3;
  config.identifier.clear();
  kernel.with(3, [](fake_kernel::device& target) { target.is_configured = true; });
  EXPECT_EQ(failure_of(connect, errno_code(EBUSY)),
            "connect /dev/nbd3: device or resource busy (it is in use; see /sys/block/nbd3/pid)");
  kernel.refuse(driver_command::connect, EINVAL);
  EXPECT_EQ(failure_of(connect, errno_code(EINVAL)),
            "connect /dev/nbd3: invalid argument (no such device, or not connected; see "
            "/sys/block/nbd3, or load the module nbd with a larger nbds_max)");
  kernel.refuse(driver_command::connect, EINVAL, "Attribute failed policy validation");
  EXPECT_EQ(failure_of(connect, errno_code(EINVAL)),
            "connect /dev/nbd3: invalid argument (Attribute failed policy validation)");
  kernel.refuse(driver_command::connect, EIO, "");
  EXPECT_EQ(failure_of(connect, errno_code(EIO)), "connect /dev/nbd3: input/output error");
}

TEST_F(kernel_driver_test, replaces_dead_sockets) {
  auto driver = kernel.driver();
  (void)driver.connect(config);
  kernel.kill_link(0, 0, false);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const unique_fd server_end(pair[0]);
  unique_fd kernel_end(pair[1]);
  driver.replace_sockets(0, {kernel_end.get()});
  kernel_end.reset();
  kernel.with(0, [](fake_kernel::device& target) {
    EXPECT_EQ(::send(target.sockets[0].get(), "x", 1, 0), 1);
  });
  char byte = 0;
  EXPECT_EQ(::recv(server_end.get(), &byte, 1, 0), 1);
}

TEST_F(kernel_driver_test, reports_which_devices_are_connected) {
  auto driver = kernel.driver();
  EXPECT_EQ(driver.is_connected(0), std::nullopt) << "there is no such device";
  (void)driver.connect(config);
  EXPECT_EQ(driver.is_connected(0), true);
  driver.disconnect(0);
  EXPECT_EQ(driver.is_connected(0), false);
  kernel.refuse(driver_command::disconnect, EINVAL);
  EXPECT_EQ(failure_of([&] { driver.disconnect(9); }),
            "disconnect /dev/nbd9: invalid argument (no such device, or not connected; see "
            "/sys/block/nbd9, or load the module nbd with a larger nbds_max)");
}

TEST_F(kernel_driver_test, sends_a_disconnect_on_all_sockets) {
  auto driver = kernel.driver();
  (void)driver.connect(config);
  driver.disconnect(0);
  std::string bytes(28, '\0');
  EXPECT_EQ(::recv(other_end.get(), bytes.data(), bytes.size(), MSG_WAITALL), 28);
  EXPECT_EQ(bytes.substr(0, 8), test::be32(wire::nbd_request_magic) + test::be32(2));
  EXPECT_EQ(::recv(other_end.get(), bytes.data(), bytes.size(), 0), 0);
}

TEST_F(kernel_driver_test, reports_dead_links) {
  auto driver = kernel.driver();
  std::vector<std::uint32_t> dead;
  EXPECT_TRUE(driver.take_dead_links(dead));
  EXPECT_THAT(dead, ElementsAre());
  kernel.notify_dead_link(3);
  kernel.notify_dead_link(1);
  pollfd ready{driver.notices(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 10000), 1);
  EXPECT_TRUE(driver.take_dead_links(dead));
  EXPECT_THAT(dead, ElementsAre(3, 1));
}

TEST_F(kernel_driver_test, fails_when_the_kernel_sends_malformed_messages) {
  auto driver = kernel.driver();
  kernel.answer_with(test::unhex("ff000000 1c00 0000 02000000 00000000"));
  EXPECT_EQ(
      failure_of([&] { (void)driver.is_connected(0); }, make_error_code(errc::protocol_violation)),
      "query the state of /dev/nbd0: read a netlink message: protocol violation (message length "
      "255 with 16 bytes left)");
  // The reply consists only of an acknowledgement.
  kernel.answer_with(test::unhex("14000000 0200 0000 03000000 00000000 00000000"));
  EXPECT_EQ(failure_of([&] { (void)driver.is_connected(0); }),
            "query the state of /dev/nbd0: protocol violation (empty reply)");
  kernel.answer_with(test::unhex("14000000 0200 0000 04000000 00000000 00000000"));
  EXPECT_EQ(failure_of([&] { (void)driver.connect(config); }),
            "connect a kernel NBD device: protocol violation (no device number)");
}

TEST_F(kernel_driver_test, ignores_replies_to_other_requests) {
  auto driver = kernel.driver();
  // An error for another sequence number, then the acknowledgement for this request.
  kernel.answer_with(
      test::unhex("14000000 0200 0000 77000000 00000000 ffffffff"
                  "14000000 0200 0000 02000000 00000000 00000000"));
  driver.disconnect(0);
}

TEST_F(kernel_driver_test, fails_when_the_kernel_disconnects) {
  auto driver = kernel.driver();
  kernel.die();
  EXPECT_EQ(failure_of([&] { driver.disconnect(0); }),
            "disconnect /dev/nbd0: connection reset by peer");
  EXPECT_EQ(failure_of([&] { driver.disconnect(0); }), "disconnect /dev/nbd0: broken pipe");
}

}  // namespace
}  // namespace xenpv::nbd
