// Splits a wake-up's lateness at the kernel's timer interrupt into the hypervisor's part and the
// guest's part, using the kernel's timer trace (pure).
#pragma once

#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "probe/periods.hpp"

namespace xenpv::probe {

/// A trace line of the event timer:hrtimer_expire_entry.
struct timer_expiry {
  unsigned cpu = 0;
  std::chrono::nanoseconds now{};  ///< CLOCK_MONOTONIC at the start of the interrupt
  std::string_view function = {};  ///< the timer's handler; points into the line
};
/// Returns nullopt for any other line.
[[nodiscard]] std::optional<timer_expiry> parse_timer_expiry(std::string_view line);

/// The two parts of the lateness, for wake-ups that were found in the kernel trace.
struct timer_split {
  /// From the due time to the kernel's timer interrupt, upcall included.
  fine_histogram hypervisor;
  fine_histogram guest;  ///< from that interrupt until the thread ran
  std::uint64_t unmatched = 0;
};
/// `interrupts` contains the times of interrupts that may have caused a wake-up, ascending. Each
/// wake-up is attributed to the first interrupt between its due time and the time when the thread
/// ran.
[[nodiscard]] timer_split split_wakes(const std::vector<periods::wake>& wakes,
                                      const std::vector<std::chrono::nanoseconds>& interrupts);

}  // namespace xenpv::probe
