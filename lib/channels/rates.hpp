// Event rates from two readings of /proc/interrupts. Pure. Nothing is extrapolated: a row that is
// in only one reading has no rate, and counters that wrapped are distinguished from counters that
// restarted.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "channels/channel_kind.hpp"
#include "channels/interrupts.hpp"

namespace xenpv::channels {

/// The increase of a counter. The kernel's counters are 32 bits wide (kstat_irqs) and wrap. A
/// counter that decreased without having been in the upper half of its range has restarted from 0,
/// so its increase is its new value.
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
/// Events of `irq` between two readings, on `cpus` and elsewhere; nullopt unless both readings
/// contain it.
[[nodiscard]] std::optional<irq_growth> growth_of(const interrupt_table& before,
                                                  const interrupt_table& after, unsigned irq,
                                                  std::span<const unsigned> cpus);

/// The increase of row `label` in the column of `cpu`; nullopt unless both readings contain it.
[[nodiscard]] std::optional<std::uint64_t> growth_on(const interrupt_table& before,
                                                     const interrupt_table& after,
                                                     std::string_view label, unsigned cpu);

struct channel_rate {
  unsigned irq = 0;
  channel_kind kind = channel_kind::other;
  bool is_per_cpu = false;  ///< bound to one CPU
  std::string name;
  std::vector<std::uint64_t> grown;  ///< events on each CPU of the later reading
  std::uint64_t events = 0;          ///< their sum
};

struct rate_report {
  std::chrono::nanoseconds interval{};
  std::vector<unsigned> cpus;                  ///< of the later reading
  std::vector<channel_rate> channels;          ///< event channels in both readings
  std::vector<std::uint64_t> per_cpu;          ///< events of all channels on each CPU
  std::vector<std::uint64_t> movable_per_cpu;  ///< events of channels that are not bound to one CPU
  std::vector<std::string> appeared;           ///< names of new channels, which have no rate yet
  std::vector<std::string> vanished;

  [[nodiscard]] std::uint64_t events() const noexcept;
  /// `count` as events per second.
  [[nodiscard]] double per_second(std::uint64_t count) const noexcept;
};

/// `interval` is the time between the readings. Rows match only if the name is unchanged: an
/// interrupt number may be reused.
[[nodiscard]] rate_report rates_between(const interrupt_table& before, const interrupt_table& after,
                                        std::chrono::nanoseconds interval);

/// CPU 0's share of the events, 0 to 1; 0 without events or CPU 0.
[[nodiscard]] double share_of_cpu0(const std::vector<unsigned>& cpus,
                                   const std::vector<std::uint64_t>& events) noexcept;

/// How evenly events are spread: their entropy divided by the entropy of an even spread. 1 is even,
/// 0 is all on one CPU; 1 for one CPU or no events.
[[nodiscard]] double balance_of(const std::vector<std::uint64_t>& events) noexcept;

}  // namespace xenpv::channels
