// The io_uring device, which is the baseline for benchmarks, tested on a file.
#include "blk/uring_device.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "blk/workload.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blk {
namespace {

using async::test::run;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr std::size_t file_size = std::size_t{256} * 1024;

/// A block aligned for O_DIRECT.
struct alignas(4096) block {
  std::array<std::byte, 4096> bytes{};
  [[nodiscard]] std::span<std::byte> span() { return bytes; }
};

class uring_device_test : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream file(path);
    for (std::size_t i = 0; i < file_size; ++i)
      file.put(static_cast<char>(i / 4096));
    file.close();
    try {
      device = open(false);
    } catch (const failure& problem) {
      if (std::string_view(problem.what()).find("io_uring") == std::string_view::npos) throw;
      GTEST_SKIP() << problem.what();
    }
  }
  void TearDown() override {
    if (device) run(context, device->close());
    std::filesystem::remove(path);
  }
  /// Does not use O_DIRECT, which the file system of the test directory may not support.
  std::unique_ptr<uring_device> open(bool read_only, unsigned depth = 256) {
    uring_device::options settings;
    settings.read_only = read_only;
    settings.direct = false;
    settings.depth = depth;
    std::vector<asio::any_io_executor> executors(2, asio::any_io_executor(context.get_executor()));
    return uring_device::open(path, executors, settings);
  }
  std::string failure_of(asio::awaitable<void> body) {
    try {
      run(context, std::move(body));
    } catch (const failure& problem) {
      return problem.what();
    }
    return "no failure";
  }

  std::string path =
      (std::filesystem::temp_directory_path() / ("xenpv-uring-" + std::to_string(::getpid())))
          .string();
  asio::io_context context{1};
  std::unique_ptr<uring_device> device;
};

TEST_F(uring_device_test, has_the_geometry_of_the_file) {
  EXPECT_EQ(device->shape().size, file_size);
  EXPECT_EQ(device->shape().sector_size, 512u);
  EXPECT_FALSE(device->shape().read_only);
  EXPECT_EQ(device->queue_count(), 2u);
}

TEST_F(uring_device_test, reads_the_content_of_the_file) {
  block got;
  run(context, device->queue(0).read(5 * 4096, got.span()));
  EXPECT_EQ(got.bytes[0], std::byte{5});
  EXPECT_EQ(got.bytes[4095], std::byte{5});
}

TEST_F(uring_device_test, write_on_one_queue_is_visible_on_another) {
  block put;
  put.bytes.fill(std::byte{0xA5});
  run(context, device->queue(0).write(8192, put.span(), true));
  run(context, device->queue(0).flush());
  block got;
  run(context, device->queue(1).read(8192, got.span()));
  EXPECT_EQ(got.bytes, put.bytes);
}

TEST_F(uring_device_test, discarded_bytes_read_as_zeros) {
  run(context, device->queue(0).discard(4096, 4096));
  block got;
  got.bytes.fill(std::byte{1});
  run(context, device->queue(0).read(4096, got.span()));
  EXPECT_EQ(got.bytes, block().bytes);
}

TEST_F(uring_device_test, read_past_the_end_fails_and_names_the_range) {
  block got;
  EXPECT_THAT(failure_of(device->queue(0).read(file_size, got.span())),
              HasSubstr("read 4096 bytes at 262144"));
}

TEST_F(uring_device_test, write_to_a_read_only_device_fails) {
  const auto reader = open(true);
  EXPECT_TRUE(reader->shape().read_only);
  block put;
  EXPECT_THAT(failure_of(reader->queue(0).write(0, put.span())),
              HasSubstr("write 4096 bytes at 0"));
  run(context, reader->close());
}

TEST_F(uring_device_test, more_requests_than_its_ring_holds_wait_their_turn) {
  const auto small = open(true, 4);
  workload load;
  load.depth = 64;
  load.count = 1000;
  load.time = 1h;
  workload_result result;
  auto body = [&]() -> asio::awaitable<void> { result = co_await blk::run(small->queue(0), load); };
  run(context, body());
  EXPECT_EQ(result.requests, 1000u);
  EXPECT_EQ(result.errors, 0u) << result.first_error.message();
  run(context, small->close());
}

TEST_F(uring_device_test, error_names_a_missing_file) {
  try {
    (void)uring_device::open("/no/such/disk", {context.get_executor()}, {});
    FAIL();
  } catch (const failure& problem) {
    EXPECT_THAT(problem.what(), HasSubstr("open /no/such/disk: no such file or directory"));
  }
}

TEST_F(uring_device_test, empty_executor_list_is_refused) {
  EXPECT_THROW((void)uring_device::open(path, {}, {}), failure);
}

}  // namespace
}  // namespace xenpv::blk
