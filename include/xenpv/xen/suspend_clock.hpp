// Whether the guest was suspended meanwhile (saved, migrated, or only checkpointed), by two signs.
// Its clocks: Linux adds the time of a suspend to CLOCK_BOOTTIME alone. And Xen's count of the
// guest's incarnations (cpuid.hpp), which a restore raises: the clocks of a new host may lag behind
// the old one's, and Linux then adds nothing. No I/O: cheap enough to ask before each thing that a
// resume makes dangerous. Says nothing of how the suspend ended (xen/resume_watch.hpp,
// async/runtime.hpp). Not seen: a checkpoint of less than a millisecond, and on machines other than
// x86 a migration to a host whose clock lags by as much as the migration took. A simulated guest
// shows neither sign.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace xenpv::xen {

struct suspend_reading {
  std::chrono::nanoseconds suspended{};  ///< how long the guest was suspended since it was booted
  std::uint32_t incarnation = 0;         ///< constant where Xen does not tell
};

/// What a suspend_clock goes by. Any thread.
class suspend_source {
 public:
  virtual ~suspend_source() = default;
  [[nodiscard]] virtual suspend_reading read() const noexcept = 0;
};

/// This guest's clocks and CPUID: a few system calls without a kernel entry, and one CPUID.
[[nodiscard]] const suspend_source& guest_suspend_source();

class suspend_clock {
 public:
  /// What was until now is known. `source` outlives the clock.
  explicit suspend_clock(const suspend_source& source = guest_suspend_source()) noexcept
      : source_(&source) {
    settle(reading());
  }

  [[nodiscard]] suspend_reading reading() const noexcept;
  /// True since a suspend that nobody has settled. Any thread.
  [[nodiscard]] bool has_moved() const noexcept;
  /// The guest was suspended after that reading. Any thread.
  [[nodiscard]] bool has_moved_since(const suspend_reading& before) const noexcept;
  /// `now` is of another incarnation than what was settled last: that was no checkpoint, the guest
  /// was resumed.
  [[nodiscard]] bool is_new_incarnation(const suspend_reading& now) const noexcept {
    return now.incarnation != known_incarnation_.load();
  }
  /// Somebody found out how the suspends up to this reading ended. One thread.
  void settle(const suspend_reading& reading) noexcept;
  /// For tests: from now on it shows that much more.
  void advance(std::chrono::nanoseconds time) noexcept { pretended_.store(time); }

 private:
  const suspend_source* source_;
  std::atomic<std::chrono::nanoseconds> pretended_{};
  // Read by others between the two stores, they still tell of a suspend that moved both.
  std::atomic<std::chrono::nanoseconds> known_suspended_{};
  std::atomic<std::uint32_t> known_incarnation_{};
};

}  // namespace xenpv::xen
