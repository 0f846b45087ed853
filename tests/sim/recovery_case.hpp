// Code shared by the recovery tests: device paths, polling for a condition, blocking work, and
// whether this build can start a custodian.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "sim/block_device.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {

/// False under ThreadSanitizer: it starts a thread, and a multi-threaded process cannot fork a
/// custodian. The cases then run without a custodian, and cases that need one are skipped.
#ifdef __SANITIZE_THREAD__
inline constexpr bool has_custodian = false;
#else
inline constexpr bool has_custodian = true;
#endif

inline std::string path_of(unsigned disk) {
  return fmt::format("device/vbd/{}", disk);
}

inline boost::asio::awaitable<void> sleep(async::runtime& runtime, std::chrono::nanoseconds time) {
  boost::asio::steady_timer timer(runtime.control(), time);
  co_await timer.async_wait(boost::asio::use_awaitable);
}

/// Calls `work`, which blocks, on a separate thread, so that the runtime continues.
inline boost::asio::awaitable<void> run_blocking(async::runtime& runtime,
                                                 std::function<void()> work) {
  std::atomic<bool> done = false;
  std::string problem;
  std::thread thread([&] {
    try {
      work();
    } catch (const std::exception& e) {
      problem = e.what();
    }
    done = true;
  });
  while (!done)
    co_await sleep(runtime, std::chrono::microseconds(500));
  thread.join();
  if (!problem.empty()) ADD_FAILURE() << problem;
}

inline boost::asio::awaitable<void> poll_until(async::runtime& runtime,
                                               std::function<bool()> done) {
  const auto limit = std::chrono::steady_clock::now() + time_limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > limit)
      throw failure(errc::timed_out, "wait for the expected condition");
    co_await sleep(runtime, std::chrono::milliseconds(1));
  }
}

}  // namespace xenpv::blkfront
