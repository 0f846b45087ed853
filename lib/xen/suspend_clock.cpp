#include "xenpv/xen/suspend_clock.hpp"

#include <time.h>

#include <algorithm>

namespace xenpv::xen {
namespace {

/// The clocks are read one after the other, and the thread may lose its CPU in between.
constexpr std::chrono::nanoseconds jitter = std::chrono::milliseconds(1);

std::chrono::nanoseconds read_clock(clockid_t which) noexcept {
  timespec now{};
  ::clock_gettime(which, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

std::chrono::nanoseconds suspend_clock::reading() const noexcept {
  auto least = std::chrono::nanoseconds::max();
  for (int i = 0; i < 3; ++i) {
    const auto monotonic = read_clock(CLOCK_MONOTONIC);
    least = std::min(least, read_clock(CLOCK_BOOTTIME) - monotonic);
  }
  return least + pretended_.load();
}

bool suspend_clock::has_moved_since(std::chrono::nanoseconds before) const noexcept {
  return reading() - before > jitter;
}

}  // namespace xenpv::xen
