// Rates: the difference of two readings of /proc/interrupts. Pure; nothing is extrapolated, so a
// row that is new or gone has no rate, and counters that wrap or start anew are told apart.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/diag/channel_kind.hpp"
#include "xenpv/diag/interrupts.hpp"

namespace xenpv::diag {

/// What a counter grew by. The kernel's are 32 bits wide (kstat_irqs) and wrap; one that is smaller
/// now without having been near the end started anew, and has grown by its value.
[[nodiscard]] constexpr std::uint64_t growth(std::uint64_t before, std::uint64_t after) noexcept {
  constexpr std::uint64_t half = std::uint64_t{1} << 31;
  constexpr std::uint64_t whole = std::uint64_t{1} << 32;
  if (after >= before) return after - before;
  return before >= half && before < whole && after < half ? after + whole - before : after;
}

/// Events of one interrupt, on some CPUs and on all others.
struct irq_growth {
  std::uint64_t there = 0;
  std::uint64_t elsewhere = 0;
};
/// Of `irq` between two readings, on `cpus` and elsewhere; nullopt when it is not in both.
[[nodiscard]] std::optional<irq_growth> growth_of(const interrupt_table& before,
                                                  const interrupt_table& after, unsigned irq,
                                                  std::span<const unsigned> cpus);

/// What the row `label` grew by in the column of `cpu`; nullopt when it is not in both.
[[nodiscard]] std::optional<std::uint64_t> growth_on(const interrupt_table& before,
                                                     const interrupt_table& after,
                                                     std::string_view label, unsigned cpu);

struct channel_rate {
  unsigned irq = 0;
  channel_kind kind = channel_kind::other;
  bool is_per_cpu = false;  ///< bound to one CPU
  std::string name;
  std::vector<std::uint64_t> grown;  ///< events on each CPU of the later table
  std::uint64_t events = 0;          ///< their sum
};

struct rate_report {
  std::chrono::nanoseconds interval{};
  std::vector<unsigned> cpus;                  ///< of the later reading
  std::vector<channel_rate> channels;          ///< event channels in both readings
  std::vector<std::uint64_t> per_cpu;          ///< events of all channels on each CPU
  std::vector<std::uint64_t> movable_per_cpu;  ///< of those that are not bound to one CPU
  std::vector<std::string> appeared;           ///< names of channels that are new: no rate yet
  std::vector<std::string> vanished;

  [[nodiscard]] std::uint64_t events() const noexcept;
  /// `count` as events a second.
  [[nodiscard]] double per_second(std::uint64_t count) const noexcept;
};

/// `interval` is the time between the readings. A row counts as the same only under its old name:
/// an interrupt number may be given out anew.
[[nodiscard]] rate_report rates_between(const interrupt_table& before, const interrupt_table& after,
                                        std::chrono::nanoseconds interval);

/// The share of CPU 0 in the events, 0 to 1; 0 without events or CPU 0.
[[nodiscard]] double share_of_cpu0(const std::vector<unsigned>& cpus,
                                   const std::vector<std::uint64_t>& events) noexcept;

/// How evenly events are spread: their entropy over that of an even spread. 1 is even, 0 is all on
/// one CPU; 1 for one CPU or no events.
[[nodiscard]] double balance_of(const std::vector<std::uint64_t>& events) noexcept;

}  // namespace xenpv::diag
