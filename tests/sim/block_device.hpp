// Code shared by the frontend tests: runs a coroutine on a runtime, starts further processes in the
// domain, and sends commands to the toolstack. The same program runs in the simulator and, with
// fewer cases, in a real Xen guest (tests/real-xen/scenarios/block).
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace xenpv::blkfront {

/// Generous: only a hang exceeds it.
inline constexpr std::chrono::seconds time_limit(20);

/// Runs `body` on a new runtime without a custodian.
inline void with_runtime(std::function<asio::awaitable<void>(async::runtime&)> body) {
  async::runtime_options settings;
  settings.with_custodian = false;
  async::runtime runtime(std::move(settings));
  runtime.run(std::move(body));
}

/// Returns the error that `operation` throws, or an error with an empty text if it succeeds.
inline asio::awaitable<error> failure_of(asio::awaitable<void> operation) {
  try {
    co_await std::move(operation);
  } catch (const failure& problem) {
    co_return error{problem.code(), problem.what()};
  }
  co_return error{};
}

/// Runs this program as another process in the domain. The process opens `device`, reports that the
/// device is open, and waits to be killed. If `busy`, it keeps submitting writes.
class holder {
 public:
  holder(const std::string& device, bool with_custodian, bool busy = false);
  ~holder();
  holder(const holder&) = delete;
  holder& operator=(const holder&) = delete;
  void kill();

 private:
  pid_t process_ = -1;
};
/// Main function of a holder process.
int hold(const std::string& device, bool with_custodian, bool busy);

/// Runs this program as another process in the domain. Until it is killed, the process writes
/// (version << 8 | seed) to the first 64 blocks of 4 KiB, flushes, and reports the flushed
/// versions.
class flushing_writer {
 public:
  static constexpr std::size_t blocks = 64;
  flushing_writer(const std::string& device, unsigned seed);
  ~flushing_writer();
  flushing_writer(const flushing_writer&) = delete;
  flushing_writer& operator=(const flushing_writer&) = delete;
  void kill();
  /// Returns the last flushed version of each block; 0: never flushed. Call after kill().
  [[nodiscard]] std::array<std::uint32_t, blocks> flushed();

 private:
  pid_t process_ = -1;
  int reports_ = -1;
};
int write_and_flush(const std::string& device, unsigned seed);

/// Program modes for scripts: copy a file to a disk and flush, or copy a disk's first bytes to a
/// file.
int write_disk(const std::string& device, const std::string& file);
int read_disk(const std::string& device, const std::string& file, std::uint64_t bytes);

/// Runs `xenpv-sim disk --dir <this domain's host> ARGUMENTS`. If the environment variable
/// XENPV_TEST_TOOLSTACK names a program, runs that program with ARGUMENTS instead.
void toolstack(const std::string& arguments);

struct disk_under_test {
  std::string name;
  std::string device;
};
/// Returns the disks listed in the environment variable XENPV_TEST_DISKS, such as
/// "brd=device/vbd/51728,file=device/vbd/51744"; by default, the simulated disks that
/// tests/sim/CMakeLists.txt defines.
[[nodiscard]] std::vector<disk_under_test> disks_under_test();
[[nodiscard]] bool is_simulated();

}  // namespace xenpv::blkfront
