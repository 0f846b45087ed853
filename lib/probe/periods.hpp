// A fixed schedule of due times and its results: how late each period was handled, and which
// periods were over before that (pure). The caller asks for the next due time and reports each
// wake-up.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "xenpv/base/histogram.hpp"

namespace xenpv::probe {

/// All times are from the same clock, of any kind.
class periods {
 public:
  using time = std::chrono::nanoseconds;
  /// A wake-up, to be matched with other traces of it.
  struct wake {
    time due{};
    time woke{};
  };

  /// The first `warm_up` wake-ups, and periods lost between them, do not count. The first `keep`
  /// wake-ups that count are kept.
  periods(time first, time interval, std::uint64_t warm_up, std::size_t keep = 0);

  [[nodiscard]] time due() const noexcept { return due_; }
  /// Reports the wake-up for due(), at `now`. The next due() is the first that is still to come;
  /// periods before it are lost.
  void woke(time now);
  /// The same, with the number of elapsed periods from another source: at least one.
  void woke(time now, std::uint64_t over);

  /// Lateness of all periods.
  [[nodiscard]] const fine_histogram& lateness() const noexcept { return lateness_; }
  /// Lateness of the wake-ups alone, which ignores lost periods.
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

}  // namespace xenpv::probe
