// Splits the lateness of a wake-up into the part before the kernel's timer interrupt ran and the
// part after it, using the kernel's timer trace (pure).
#pragma once

#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "probe/periods.hpp"

namespace xenpv::probe {

/// A line of the event timer:hrtimer_expire_entry.
struct timer_expiry {
  unsigned cpu = 0;
  std::chrono::nanoseconds now{};  ///< CLOCK_MONOTONIC when the interrupt began
  std::string_view function = {};  ///< the handler of the timer; points into the line
};
/// nullopt for any other line.
[[nodiscard]] std::optional<timer_expiry> parse_timer_expiry(std::string_view line);

/// Lateness in two parts, for the wake-ups that were found in the kernel's trace.
struct timer_split {
  /// From the due time to the kernel's timer interrupt, upcall included.
  fine_histogram hypervisor;
  fine_histogram guest;  ///< from that interrupt until the thread ran
  std::uint64_t unmatched = 0;
};
/// `interrupts` are the times of the interrupts that may have caused a wake-up, ascending. A
/// wake-up is attributed to the first interrupt between its due time and the time when the thread
/// ran.
[[nodiscard]] timer_split split_wakes(const std::vector<periods::wake>& wakes,
                                      const std::vector<std::chrono::nanoseconds>& interrupts);

}  // namespace xenpv::probe
