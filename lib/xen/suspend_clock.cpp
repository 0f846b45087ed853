#include "xenpv/xen/suspend_clock.hpp"

#include <time.h>

#include <algorithm>

#include "xen/cpuid.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::xen {
namespace {

/// Tolerance in case the thread is preempted between reading the two clocks.
constexpr std::chrono::nanoseconds jitter = std::chrono::milliseconds(1);

std::chrono::nanoseconds read_clock(clockid_t id) noexcept {
  timespec now{};
  ::clock_gettime(id, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

class guest_clocks final : public suspend_source {
 public:
  [[nodiscard]] suspend_reading read() const noexcept override {
    auto least = std::chrono::nanoseconds::max();
    for (int i = 0; i < 3; ++i) {
      const auto monotonic = read_clock(CLOCK_MONOTONIC);
      least = std::min(least, read_clock(CLOCK_BOOTTIME) - monotonic);
    }
    return {least, incarnations_.read()};
  }

 private:
  incarnation_counter incarnations_{read_guest_facts().type};
};

}  // namespace

const suspend_source& guest_suspend_source() {
  static const guest_clocks clocks;
  return clocks;
}

suspend_reading suspend_clock::reading() const noexcept {
  auto now = source_->read();
  now.suspended += test_offset_.load();
  return now;
}

bool suspend_clock::has_moved() const noexcept {
  return has_moved_since({known_suspended_.load(), known_incarnation_.load()});
}

bool suspend_clock::has_moved_since(const suspend_reading& before) const noexcept {
  const auto now = reading();
  return now.incarnation != before.incarnation || now.suspended - before.suspended > jitter;
}

void suspend_clock::acknowledge(const suspend_reading& reading) noexcept {
  known_suspended_.store(reading.suspended);
  known_incarnation_.store(reading.incarnation);
}

}  // namespace xenpv::xen
