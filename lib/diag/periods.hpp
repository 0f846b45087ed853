// A fixed schedule of due times and what came of it: how late each was dealt with, and which were
// over before anybody could (pure). Whoever measures asks when to wake and tells when it did.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "xenpv/base/histogram.hpp"

namespace xenpv::diag {

/// Times are of any one clock.
class periods {
 public:
  using time = std::chrono::nanoseconds;
  /// A wake-up, for who looks for its traces elsewhere.
  struct wake {
    time due{};
    time woke{};
  };

  /// The first `warm_up` wake-ups and what was lost between them do not count. `keep` wake-ups are
  /// kept, the first ones that count.
  periods(time first, time interval, std::uint64_t warm_up, std::size_t keep = 0);

  [[nodiscard]] time due() const noexcept { return due_; }
  /// Woken for due(), at `now`. The next due() is the first that is still to come; those before it
  /// are lost.
  void woke(time now);
  /// The same where somebody else counts the periods that are over: at least one.
  void woke(time now, std::uint64_t over);

  /// Of all periods.
  [[nodiscard]] const fine_histogram& lateness() const noexcept { return lateness_; }
  /// Of the wake-ups alone: what one sees who forgets the periods that were lost.
  [[nodiscard]] const fine_histogram& wake_lateness() const noexcept { return wake_lateness_; }
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
  fine_histogram lateness_;
  fine_histogram wake_lateness_;
  std::vector<wake> kept_;
};

}  // namespace xenpv::diag
