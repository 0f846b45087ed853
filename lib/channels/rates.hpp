// Event rates from two snapshots of /proc/interrupts. Pure. Nothing is extrapolated: a row that
// appears in only one snapshot has no rate, and wrapped counters are distinguished from restarted
// ones.
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

/// Returns the delta of a counter. Kernel counters (kstat_irqs) are 32 bits wide and wrap. A
/// counter that decreased without having been in the upper half of its range has restarted from 0,
/// so its delta is its new value.
[[nodiscard]] constexpr std::uint64_t growth(std::uint64_t before, std::uint64_t after) noexcept {
  constexpr std::uint64_t half = std::uint64_t{1} << 31;
  constexpr std::uint64_t whole = std::uint64_t{1} << 32;
  if (after >= before) return after - before;
  return before >= half && before < whole && after < half ? after + whole - before : after;
}

/// True if a count is in the upper half of its range: others may have wrapped already, so counts
/// since boot cannot be compared. kernel/irq/proc.c prints kstat_irqs with %10u.
[[nodiscard]] bool may_have_wrapped(std::span<const std::uint64_t> counts) noexcept;

/// The events of one interrupt: on the selected CPUs (`there`) and on all others (`elsewhere`).
struct irq_growth {
  std::uint64_t there = 0;
  std::uint64_t elsewhere = 0;
};
/// Counts the events of `irq` between two snapshots, on `cpus` and elsewhere. Returns nullopt
/// unless both snapshots contain `irq`.
[[nodiscard]] std::optional<irq_growth> growth_of(const interrupt_table& before,
                                                  const interrupt_table& after, unsigned irq,
                                                  std::span<const unsigned> cpus);

/// Returns the delta of row `label` on `cpu`, or nullopt unless both snapshots have that count.
[[nodiscard]] std::optional<std::uint64_t> growth_on(const interrupt_table& before,
                                                     const interrupt_table& after,
                                                     std::string_view label, unsigned cpu);

struct channel_rate {
  unsigned irq = 0;
  channel_kind kind = channel_kind::other;
  bool is_per_cpu = false;  ///< bound to one CPU
  std::string name;
  std::vector<std::uint64_t> grown;  ///< events on each CPU of the later snapshot
  std::uint64_t events = 0;          ///< sum of `grown`
};

struct rate_report {
  std::chrono::nanoseconds interval{};
  std::vector<unsigned> cpus;                  ///< CPUs of the later snapshot
  std::vector<channel_rate> channels;          ///< event channels in both snapshots
  std::vector<std::uint64_t> per_cpu;          ///< events of all channels on each CPU
  std::vector<std::uint64_t> movable_per_cpu;  ///< the same without per-CPU channels
  std::vector<std::string> appeared;           ///< names of new channels, which have no rate yet
  std::vector<std::string> vanished;

  [[nodiscard]] std::uint64_t events() const noexcept;
  /// Converts `count` to events per second.
  [[nodiscard]] double per_second(std::uint64_t count) const noexcept;
};

/// `interval` is the time between the snapshots. Rows match only if chip and actions are unchanged,
/// because IRQ numbers are reused.
[[nodiscard]] rate_report rates_between(const interrupt_table& before, const interrupt_table& after,
                                        std::chrono::nanoseconds interval);

/// Returns CPU 0's share of the events, from 0 to 1; 0 if there are no events or no CPU 0.
[[nodiscard]] double share_of_cpu0(const std::vector<unsigned>& cpus,
                                   const std::vector<std::uint64_t>& events) noexcept;

/// Returns how evenly the events are distributed over the CPUs: their entropy relative to an even
/// distribution. 1 is even, 0 is all on one CPU. Returns 1 for a single CPU or no events.
[[nodiscard]] double balance_of(const std::vector<std::uint64_t>& events) noexcept;

}  // namespace xenpv::channels
