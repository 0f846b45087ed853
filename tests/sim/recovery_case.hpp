// What the tests of recovery share: their disks by number, waiting for what a device becomes, and
// whether this build can have a custodian.
#pragma once

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "sim/block_device.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {

/// ThreadSanitizer runs a thread of its own, and the custodian refuses to fork beside any: there
/// the cases go without, but for those that need it.
#ifdef __SANITIZE_THREAD__
inline constexpr bool has_custodian = false;
#else
inline constexpr bool has_custodian = true;
#endif

inline std::string path_of(unsigned disk) {
  return fmt::format("device/vbd/{}", disk);
}

inline boost::asio::awaitable<void> sleep(async::runtime& on, std::chrono::nanoseconds time) {
  boost::asio::steady_timer timer(on.control(), time);
  co_await timer.async_wait(boost::asio::use_awaitable);
}

inline boost::asio::awaitable<void> poll_until(async::runtime& on, std::function<bool()> done) {
  const auto limit = std::chrono::steady_clock::now() + patience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > limit)
      throw failure(errc::timed_out, "wait for what the test expects");
    co_await sleep(on, std::chrono::milliseconds(1));
  }
}

}  // namespace xenpv::blkfront
