#include "diag/resume_watch.hpp"

#include <time.h>

#include <algorithm>

#include "xenpv/base/error.hpp"

namespace xenpv::diag {
namespace {

std::chrono::nanoseconds read_clock(clockid_t which) {
  timespec now{};
  ::clock_gettime(which, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

/// How long the guest was suspended so far: Linux adds that to CLOCK_BOOTTIME alone. The least of
/// three, since this thread may lose its CPU between the two readings.
std::chrono::nanoseconds time_suspended() {
  auto least = std::chrono::nanoseconds::max();
  for (int i = 0; i < 3; ++i) {
    const auto monotonic = read_clock(CLOCK_MONOTONIC);
    least = std::min(least, read_clock(CLOCK_BOOTTIME) - monotonic);
  }
  return least;
}

}  // namespace

resume_watch::resume_watch() : suspended_(time_suspended()) {
  try {
    store_.emplace(xen::store::open());
    domain_ = store_->own_domid();
  } catch (const failure&) {
    // The clocks have to do.
    store_.reset();
  }
}

bool resume_watch::has_resumed() {
  using namespace std::chrono_literals;
  if (resumed_) return true;
  resumed_ = time_suspended() - suspended_ > 1ms;
  if (!resumed_ && store_ && domain_) {
    try {
      resumed_ = store_->own_domid() != domain_;
    } catch (const failure&) {
      // A store that went away is no reason to believe that old handles are safe.
      resumed_ = true;
    }
  }
  return resumed_;
}

}  // namespace xenpv::diag
