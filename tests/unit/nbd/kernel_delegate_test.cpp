// A kernel_driver that passes its requests to another process.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fake_kernel.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/nbd/kernel_driver.hpp"

namespace xenpv::nbd {
namespace {

/// Records the requests.
class recording_delegate final : public kernel_delegate {
 public:
  std::uint32_t connect(const kernel_device_config& config) override {
    note(fmt::format("connect {} bytes", config.size));
    return 7;
  }
  void resize(std::uint64_t size, std::uint32_t block_size) override {
    note(fmt::format("resize {} {}", size, block_size));
  }
  void replace_sockets(const std::vector<int>& sockets, const device_timeouts& timeouts) override {
    note(fmt::format("replace {} sockets, dead timeout {} s", sockets.size(),
                     timeouts.dead->count()));
  }
  void disconnect() override { note("disconnect"); }
  std::optional<bool> is_connected() override {
    note("query");
    return true;
  }
  unique_fd open_device(bool) override {
    note("open");
    return {};
  }
  void limit_requests(std::chrono::milliseconds limit) override {
    note(fmt::format("limit {} ms", limit.count()));
  }
  void prepare_queue(std::uint32_t kilobytes) override {
    note(fmt::format("requests of {} KiB", kilobytes));
  }
  void enlarge_buffer(int) override { note("enlarge"); }

  std::vector<std::string> requests;

 private:
  void note(std::string text) { requests.push_back(std::move(text)); }
};

TEST(kernel_delegate, makes_all_requests_of_its_driver) {
  test::fake_kernel kernel;
  auto driver = kernel.driver();
  // The kernel would refuse these requests.
  for (const auto command :
       {driver_command::connect, driver_command::reconfigure, driver_command::disconnect})
    kernel.refuse(command, EPERM);
  const auto delegate = std::make_shared<recording_delegate>();
  EXPECT_EQ(driver.delegate(), nullptr);
  driver.use(delegate);
  EXPECT_EQ(driver.delegate(), delegate.get());

  kernel_device_config config;
  config.size = 1 << 20;
  EXPECT_EQ(driver.connect(config), 7U);
  driver.resize(7, 4096, 512);
  driver.replace_sockets(7, {1, 2}, {.dead = std::chrono::seconds(30)});
  EXPECT_EQ(driver.is_connected(7), true);
  driver.disconnect(7);
  EXPECT_THAT(delegate->requests,
              testing::ElementsAre("connect 1048576 bytes", "resize 4096 512",
                                   "replace 2 sockets, dead timeout 30 s", "query", "disconnect"));
}

}  // namespace
}  // namespace xenpv::nbd
