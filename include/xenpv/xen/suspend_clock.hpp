// Detects that the guest was suspended (saved, migrated or only checkpointed), from two indicators.
// The first is the clocks: Linux adds the duration of a suspend only to CLOCK_BOOTTIME. The second
// is Xen's incarnation counter (cpuid.hpp), which a restore increments. The counter is needed
// because the new host's clock may lag behind the old host's; Linux then does not add anything.
// Performs no I/O, and is cheap enough to call before each operation that is unsafe after a resume.
// Does not report how the suspend ended (see async/guest_session.hpp). Two cases are not detected:
// a checkpoint of less than a millisecond and, on machines other than x86, a migration to a host
// whose clock lags by as much as the migration took. A simulated guest has neither indicator.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace xenpv::xen {

/// The values of both indicators at one time.
struct suspend_reading {
  std::chrono::nanoseconds suspended{};  ///< total time suspended since boot
  std::uint32_t incarnation = 0;         ///< constant if Xen does not report it
};

/// Supplies the values for a suspend_clock. Can be called from any thread.
class suspend_source {
 public:
  virtual ~suspend_source() = default;
  /// Returns the current values.
  [[nodiscard]] virtual suspend_reading read() const noexcept = 0;
};

/// Reads this guest's clocks with a few vDSO calls, which do not enter the kernel, and its
/// incarnation with one CPUID instruction.
[[nodiscard]] const suspend_source& guest_suspend_source();

class suspend_clock {
 public:
  /// Treats earlier suspends as acknowledged. `source` must outlive this object.
  explicit suspend_clock(const suspend_source& source = guest_suspend_source()) noexcept
      : source_(&source) {
    acknowledge(reading());
  }

  /// Returns the current values, for has_moved_since() and acknowledge(). Can be called from any
  /// thread.
  [[nodiscard]] suspend_reading reading() const noexcept;
  /// True while a suspend is unacknowledged. Can be called from any thread.
  [[nodiscard]] bool has_moved() const noexcept;
  /// True if the guest was suspended after `before` was read. Can be called from any thread.
  [[nodiscard]] bool has_moved_since(const suspend_reading& before) const noexcept;
  /// True if the incarnation in `now` differs from the last acknowledged one: the guest was
  /// resumed, not only checkpointed.
  [[nodiscard]] bool is_new_incarnation(const suspend_reading& now) const noexcept {
    return now.incarnation != known_incarnation_.load();
  }
  /// Treats all suspends up to `reading` as handled. Called by one thread only.
  void acknowledge(const suspend_reading& reading) noexcept;
  /// For tests: adds `time` to all values that are read later, replacing the previous offset.
  void advance(std::chrono::nanoseconds time) noexcept { test_offset_.store(time); }

 private:
  const suspend_source* source_;
  std::atomic<std::chrono::nanoseconds> test_offset_{};
  // A thread that reads between the two stores still detects a suspend that changed both values.
  std::atomic<std::chrono::nanoseconds> known_suspended_{};
  std::atomic<std::uint32_t> known_incarnation_{};
};

}  // namespace xenpv::xen
