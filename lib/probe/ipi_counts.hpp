// Counts the IPIs of each kind that a CPU received between two snapshots of /proc/interrupts, and
// compares them with the calls that should have sent them. Pure.
//
// The kernel's PV handlers also increment rows RES and CAL, so these rows hold the totals. Only the
// event-channel rows (resched, callfunc, callfuncsingle) show that IPIs went through Xen.
//
// ARM has neither: its IPIs are interrupts of the GIC, which Xen virtualizes, in rows IPI0, IPI1,
// ... Their numbers differ between kernels, so they are found by their descriptions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "channels/interrupts.hpp"

namespace xenpv::probe {

/// IPIs counted on one CPU.
struct ipi_counts {
  /// Rows resched, callfunc, callfuncsingle; unset if the kernel has no PV IPIs.
  std::optional<std::uint64_t> resched = {};
  std::optional<std::uint64_t> callfunc = {};
  std::optional<std::uint64_t> callfuncsingle = {};
  /// Rows RES and CAL; unset if the kernel has no such rows.
  std::optional<std::uint64_t> res = {};
  std::optional<std::uint64_t> cal = {};
  /// ARM: the rows of rescheduling and of function call interrupts; unset on x86.
  std::optional<std::uint64_t> gic_resched = {};
  std::optional<std::uint64_t> gic_callfunc = {};

  /// True if the kernel has rows that count IPIs.
  [[nodiscard]] bool is_known() const noexcept { return has_pv() || has_gic() || (res && cal); }
  [[nodiscard]] bool has_pv() const noexcept { return resched && callfunc && callfuncsingle; }
  [[nodiscard]] bool has_gic() const noexcept { return gic_resched && gic_callfunc; }
  /// Function calls: callfunc and callfuncsingle, or CAL, or those of the GIC.
  [[nodiscard]] std::uint64_t calls() const noexcept;
  /// IPIs that can wake a CPU: function calls and reschedules.
  [[nodiscard]] std::uint64_t wakes() const noexcept;
  ipi_counts& operator+=(const ipi_counts& other) noexcept;
  friend bool operator==(const ipi_counts&, const ipi_counts&) = default;
};

/// Returns the counter deltas of `cpu` between two snapshots.
[[nodiscard]] ipi_counts ipis_between(const channels::interrupt_table& before,
                                      const channels::interrupt_table& after, unsigned cpu);

/// Returns the reason to discard a batch of `calls` single IPIs to `cpu`, or an empty string if the
/// counts match.
[[nodiscard]] std::string doubt_calls(std::uint64_t calls, const ipi_counts& counts, unsigned cpu);
/// The same for wake-ups. Either kind of IPI may wake a CPU, and a few IPIs may have other causes.
[[nodiscard]] std::string doubt_wakes(std::uint64_t wakes, const ipi_counts& counts, unsigned cpu);

enum class ipi_type { unknown, pv, native };
[[nodiscard]] std::string_view to_string(ipi_type type) noexcept;

struct ipi_type_facts {
  ipi_type type = ipi_type::unknown;
  std::string evidence = {};
};
/// Determines how the counted IPIs were delivered. An unchanged row proves nothing.
[[nodiscard]] ipi_type_facts type_of(const std::vector<ipi_counts>& counted);

}  // namespace xenpv::probe
