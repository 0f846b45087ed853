// A fixed schedule of due times and its results: how late each period was handled, and how many
// periods were lost (pure). The caller queries the next due time and reports each wake-up.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "xenpv/base/histogram.hpp"

namespace xenpv::probe {

/// All times must come from the same clock. Any clock is suitable.
class periods {
 public:
  using time = std::chrono::nanoseconds;
  /// A wake-up, kept for matching with the kernel trace.
  struct wake {
    time due{};
    time woke{};
  };

  /// Does not count the first `warm_up` wake-ups or the periods lost between them. Keeps the first
  /// `keep` counted wake-ups.
  periods(time first, time interval, std::uint64_t warm_up, std::size_t keep = 0);

  [[nodiscard]] time due() const noexcept { return due_; }
  /// Reports that the wake-up for due() happened at `now`. due() advances to the first due time
  /// after `now`; the skipped periods are lost.
  void woke(time now);
  /// The same, but the caller provides the number of elapsed periods, at least one, in `over`.
  void woke(time now, std::uint64_t over);

  /// Lateness of all periods, including lost ones.
  [[nodiscard]] const fine_histogram& lateness() const noexcept { return lateness_; }
  /// Lateness of the wake-ups only; ignores lost periods.
  [[nodiscard]] const fine_histogram& wake_lateness() const noexcept { return wake_lateness_; }
  /// Lateness of the last counted wake-up, in nanoseconds; 0 before the first one.
  [[nodiscard]] std::uint64_t last_lateness() const noexcept { return last_lateness_; }
  [[nodiscard]] std::uint64_t wake_ups() const noexcept { return wake_ups_; }
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }
  [[nodiscard]] std::uint64_t warmed_up() const noexcept { return warmed_up_; }
  [[nodiscard]] const std::vector<wake>& kept() const noexcept { return kept_; }

 private:
  time due_;
  time interval_;
  std::uint64_t warm_up_;
  std::size_t keep_;
  std::uint64_t warmed_up_ = 0;
  std::uint64_t wake_ups_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t last_lateness_ = 0;
  fine_histogram lateness_;
  fine_histogram wake_lateness_;
  std::vector<wake> kept_;
};

}  // namespace xenpv::probe
