// Detects that the guest was suspended (saved, migrated or only checkpointed), by two signs. The
// first is its clocks: Linux adds the time of a suspend only to CLOCK_BOOTTIME. The second is Xen's
// count of the guest's incarnations (cpuid.hpp), which a restore increments: the clocks of a new
// host may lag behind the old one's, and Linux then adds nothing. No I/O: cheap enough to call
// before each operation that a resume makes dangerous. Does not tell how the suspend ended
// (xen/resume_watch.hpp, async/runtime.hpp). Not detected: a checkpoint of less than a millisecond,
// and on machines other than x86 a migration to a host whose clock lags by as much as the migration
// took. A simulated guest shows neither sign.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace xenpv::xen {

struct suspend_reading {
  std::chrono::nanoseconds suspended{};  ///< total time suspended since boot
  std::uint32_t incarnation = 0;         ///< constant if Xen does not report it
};

/// The source of a suspend_clock's readings. Any thread.
class suspend_source {
 public:
  virtual ~suspend_source() = default;
  [[nodiscard]] virtual suspend_reading read() const noexcept = 0;
};

/// This guest's clocks and CPUID: a few vDSO calls, which do not enter the kernel, and one CPUID.
[[nodiscard]] const suspend_source& guest_suspend_source();

class suspend_clock {
 public:
  /// Treats earlier suspends as acknowledged. `source` outlives the clock.
  explicit suspend_clock(const suspend_source& source = guest_suspend_source()) noexcept
      : source_(&source) {
    acknowledge(reading());
  }

  [[nodiscard]] suspend_reading reading() const noexcept;
  /// True while a suspend is unacknowledged. Any thread.
  [[nodiscard]] bool has_moved() const noexcept;
  /// True if the guest was suspended after the reading `before`. Any thread.
  [[nodiscard]] bool has_moved_since(const suspend_reading& before) const noexcept;
  /// True if `now` has another incarnation than the last acknowledged reading: the suspend was not
  /// a checkpoint, the guest was resumed.
  [[nodiscard]] bool is_new_incarnation(const suspend_reading& now) const noexcept {
    return now.incarnation != known_incarnation_.load();
  }
  /// Treats the suspends up to `reading` as handled: it is known how they ended. One thread.
  void acknowledge(const suspend_reading& reading) noexcept;
  /// For tests: adds `time` to all later readings, in place of the previous addition.
  void advance(std::chrono::nanoseconds time) noexcept { test_offset_.store(time); }

 private:
  const suspend_source* source_;
  std::atomic<std::chrono::nanoseconds> test_offset_{};
  // A reader between the two stores still detects a suspend that changed both.
  std::atomic<std::chrono::nanoseconds> known_suspended_{};
  std::atomic<std::uint32_t> known_incarnation_{};
};

}  // namespace xenpv::xen
