// Programs whose custodian is killed, and programs that exit with connected disks: in both cases
// the disks must end up closed, without a kernel BUG. Runs inside a domain.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include "sim/block_device.hpp"
#include "sim/recovery_case.hpp"
#include "sim/simulated_toolstack.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {
namespace {

using ::testing::IsEmpty;

constexpr unsigned xvdb = 51728;

void kill_custodian(async::runtime& runtime) {
  const auto process = runtime.custodian()->process();
  ASSERT_GT(process, 1);
  ASSERT_EQ(::kill(process, SIGKILL), 0);
}

asio::awaitable<void> kill_and_await_another(async::runtime& runtime) {
  const auto before = runtime.custodian()->process();
  kill_custodian(runtime);
  co_await poll_until(runtime, [&] { return runtime.custodian()->process() != before; });
}

asio::awaitable<void> expect_usable(frontend& disk, int value) {
  const std::vector<std::byte> bytes(4096, static_cast<std::byte>(value));
  co_await disk.write(0, bytes);
  std::vector<std::byte> back(bytes.size());
  co_await disk.read(0, back);
  EXPECT_TRUE(back == bytes);
}

asio::awaitable<void> await_reconnect(async::runtime& runtime, const frontend& disk,
                                      std::uint64_t reconnects) {
  co_await poll_until(runtime, [&] {
    return disk.recovery().reconnects >= reconnects && disk.state() == device_state::connected;
  });
}

class killed_custodian : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  }
  /// Opens a disk, runs `body` and closes the disk. Checks that no kernel BUG was triggered.
  void with_disk(std::function<asio::awaitable<void>(async::runtime&, frontend&)> body) {
    async::runtime runtime;
    runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
      const auto disk = co_await frontend::open(self, path_of(xvdb));
      co_await body(self, *disk);
      co_await disk->close();
    });
    expect_no_bug();
  }
  void expect_no_bug() {
    const auto status = toolstack_.status();
    EXPECT_THAT(status["kernel_bugs"], IsEmpty()) << status.dump(2);
  }
  sim::simulated_toolstack toolstack_;
};

TEST_F(killed_custodian, does_not_prevent_a_disk_from_reconnecting_to_its_backend) {
  with_disk([&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    kill_custodian(runtime);
    toolstack_.restart(xvdb);
    co_await await_reconnect(runtime, disk, 1);
    co_await expect_usable(disk, 1);
  });
}

TEST_F(killed_custodian, causes_no_kernel_bug_at_a_resume_before_its_replacement_starts) {
  with_disk([&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    for (std::uint64_t i = 1; i <= 3; ++i) {
      const auto killed = runtime.custodian()->process();
      // The toolstack call blocks the control thread, which therefore does not detect the death
      // yet.
      kill_custodian(runtime);
      toolstack_.save_restore(i == 2, std::chrono::milliseconds(1));
      co_await await_reconnect(runtime, disk, i);
      co_await expect_usable(disk, static_cast<int>(i));
      co_await poll_until(runtime, [&] { return runtime.custodian()->process() != killed; });
    }
  });
}

TEST_F(killed_custodian, causes_no_kernel_bug_after_a_reported_resume) {
  with_disk([&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    toolstack_.save_restore(true, std::chrono::milliseconds(1));
    co_await await_reconnect(runtime, disk, 1);
    co_await kill_and_await_another(runtime);
    co_await expect_usable(disk, 1);
  });
}

/// Runs a program's main coroutine in a child process. Construct it before creating threads,
/// because it forks. The constructor returns when the child reports that `body` has returned; the
/// child then waits to be killed.
class main_process {
 public:
  explicit main_process(std::function<asio::awaitable<void>(async::runtime&)> body) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
    const unique_fd reports(ends[0]);
    unique_fd report(ends[1]);
    process_ = ::fork();
    if (process_ == 0) live(std::move(body), report.get());
    report.reset();
    char ready = 0;
    if (::read(reports.get(), &ready, 1) != 1) throw std::runtime_error("the main process failed");
  }
  main_process(const main_process&) = delete;
  main_process& operator=(const main_process&) = delete;
  ~main_process() { kill(); }

  void kill() {
    if (process_ <= 1) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }

 private:
  [[noreturn]] static void live(std::function<asio::awaitable<void>(async::runtime&)> body,
                                int report) {
    try {
      async::runtime runtime;
      runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
        co_await body(self);
        [[maybe_unused]] const auto written = ::write(report, "x", 1);
        co_await sleep(self, std::chrono::hours(1));
      });
    } catch (const std::exception& e) {
      fmt::print(stderr, "{}\n", e.what());
    }
    ::_exit(1);
  }

  pid_t process_ = -1;
};

asio::awaitable<void> wait_for_both_closed(async::runtime& runtime,
                                           sim::simulated_toolstack& toolstack) {
  co_await poll_until(runtime, [&] {
    return toolstack.frontend_state(xvdb) == "6" && toolstack.read(xvdb, "state") == "6";
  });
}

TEST_F(killed_custodian, has_a_replacement_that_closes_the_disk_when_the_main_process_dies) {
  std::unique_ptr<frontend> disk;
  main_process main([&](async::runtime& runtime) -> asio::awaitable<void> {
    disk = co_await frontend::open(runtime, path_of(xvdb));
    co_await kill_and_await_another(runtime);
  });
  EXPECT_EQ(toolstack_.frontend_state(xvdb), "4");
  main.kill();
  with_runtime([&](async::runtime& runtime) { return wait_for_both_closed(runtime, toolstack_); });
  expect_no_bug();
}

TEST_F(killed_custodian, has_a_replacement_that_keeps_handles_from_before_a_resume) {
  std::unique_ptr<frontend> disk;
  main_process main([&](async::runtime& runtime) -> asio::awaitable<void> {
    disk = co_await frontend::open(runtime, path_of(xvdb));
    toolstack_.save_restore(true, std::chrono::milliseconds(1));
    co_await await_reconnect(runtime, *disk, 1);
    co_await kill_and_await_another(runtime);
  });
  main.kill();
  with_runtime([&](async::runtime& runtime) { return wait_for_both_closed(runtime, toolstack_); });
  expect_no_bug();
}

class disk_left_connected : public killed_custodian {};

TEST_F(disk_left_connected, is_closed_at_both_ends_when_an_exception_leaves_main) {
  async::runtime runtime;
  const auto main = [](async::runtime& self) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(self, path_of(xvdb));
    co_await expect_usable(*disk, 1);
    throw std::runtime_error("exception in main");
  };
  EXPECT_THROW(runtime.run(main), std::runtime_error);
  EXPECT_EQ(toolstack_.frontend_state(xvdb), "6");
  EXPECT_EQ(toolstack_.read(xvdb, "state"), "6");
  expect_no_bug();
}

TEST_F(disk_left_connected, is_closed_at_both_ends_even_if_the_custodian_was_killed) {
  async::runtime runtime;
  const auto main = [](async::runtime& self) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(self, path_of(xvdb));
    kill_custodian(self);
    throw std::runtime_error("exception in main");
  };
  EXPECT_THROW(runtime.run(main), std::runtime_error);
  EXPECT_EQ(toolstack_.frontend_state(xvdb), "6");
  EXPECT_EQ(toolstack_.read(xvdb, "state"), "6");
  expect_no_bug();
}

}  // namespace
}  // namespace xenpv::blkfront
