// The kernel's driver: the message if it is missing, and, where it is loaded, a
// real device over a block device in memory.
#include "ublk/driver.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <string>
#include <vector>

#include "async/nursery.hpp"
#include "ublk/attachment.hpp"
#include "unit/async/run_coroutine.hpp"
#include "unit/nbd/fake_device.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::ublk {
namespace {

using ::testing::HasSubstr;

TEST(ublk_driver, says_how_to_load_a_missing_driver) {
  if (is_loaded()) GTEST_SKIP() << "the driver is loaded";
  try {
    (void)open_driver();
    ADD_FAILURE() << "there is a driver";
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), errc::not_available);
    EXPECT_THAT(problem.what(), HasSubstr("modprobe ublk_drv"));
    EXPECT_THAT(problem.what(), HasSubstr("--driver nbd"));
  }
}

/// Writes a pattern through the kernel's device and reads it back, bypassing the page cache.
void use_device(const std::string& path) {
  const unique_fd device(::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  ASSERT_TRUE(device) << path;
  struct alignas(4096) block {
    std::array<char, 8192> bytes{};
  };
  block written;
  for (std::size_t i = 0; i < written.bytes.size(); ++i)
    written.bytes[i] = static_cast<char>(i / 7);
  EXPECT_EQ(::pwrite(device.get(), written.bytes.data(), written.bytes.size(), 16384),
            static_cast<ssize_t>(written.bytes.size()));
  EXPECT_EQ(::fsync(device.get()), 0);
  block got;
  EXPECT_EQ(::pread(device.get(), got.bytes.data(), got.bytes.size(), 16384),
            static_cast<ssize_t>(got.bytes.size()));
  EXPECT_EQ(got.bytes, written.bytes);
}

TEST(ublk_driver, serves_a_device_of_the_kernel) {
  if (!is_loaded()) GTEST_SKIP() << "the kernel's ublk driver is not loaded (modprobe ublk_drv)";
  if (::geteuid() != 0) GTEST_SKIP() << "creating a device needs root";
  const auto driver = open_driver();
  if (check_features(driver->features()).has_error())
    GTEST_SKIP() << "the kernel's ublk driver is too old";
  asio::io_context context{1};
  nbd::test::fake_device device(std::vector<asio::any_io_executor>{context.get_executor()});
  attachment_options options;
  options.process = ::getpid();
  options.token = 1;
  attachment attached(context.get_executor(), device, device.queue(0).shape(), driver, options);
  auto story = [&]() -> asio::awaitable<void> {
    co_await attached.start();
    async::nursery tasks(context.get_executor());
    tasks.spawn(attached.run());
    // Blocks, so on another thread.
    boost::asio::thread_pool user(1);
    auto use = [&] { use_device(attached.path()); };
    co_await async::call_on(user.get_executor(), use);
    co_await attached.stop();
    co_await tasks.join();
  };
  async::test::run(context, story());
  EXPECT_EQ(attached.state(), attachment_state::gone);
  EXPECT_NE(::access(attached.path().c_str(), F_OK), 0);
}

}  // namespace
}  // namespace xenpv::ublk
