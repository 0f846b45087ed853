// Whether the guest was suspended meanwhile (saved, migrated, or only checkpointed), as its own
// clocks tell: Linux adds that time to CLOCK_BOOTTIME alone. No system call, no I/O: cheap enough
// to ask before each thing that a resume makes dangerous. Says nothing of how the suspend ended
// (xen/resume_watch.hpp, async/runtime.hpp). A suspend of less than a millisecond goes unseen, and
// a simulated guest's clocks know of none.
#pragma once

#include <atomic>
#include <chrono>

namespace xenpv::xen {

class suspend_clock {
 public:
  /// What was until now is known.
  suspend_clock() noexcept : known_(reading()) {}

  /// How long the guest was suspended since it was booted.
  [[nodiscard]] std::chrono::nanoseconds reading() const noexcept;
  /// True since a suspend that nobody has settled. Any thread.
  [[nodiscard]] bool has_moved() const noexcept { return has_moved_since(known_.load()); }
  /// The guest was suspended after that reading.
  [[nodiscard]] bool has_moved_since(std::chrono::nanoseconds before) const noexcept;
  /// Somebody found out how the suspends up to this reading ended.
  void settle(std::chrono::nanoseconds reading) noexcept { known_.store(reading); }
  /// For tests: from now on it shows that much more.
  void advance(std::chrono::nanoseconds time) noexcept { pretended_.store(time); }

 private:
  std::atomic<std::chrono::nanoseconds> pretended_{};
  std::atomic<std::chrono::nanoseconds> known_;
};

}  // namespace xenpv::xen
