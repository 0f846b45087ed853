// How many IPIs of which kind a CPU got, from two readings of /proc/interrupts, and what that says
// of calls that were to send some. Pure.
//
// The kernel's PV handlers count into the rows RES and CAL too, so these say how many; only the
// rows of the event channels (resched, callfunc, callfuncsingle) say that they came through Xen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/diag/interrupts.hpp"

namespace xenpv::diag {

/// Events on one CPU.
struct ipi_counts {
  /// Rows resched, callfunc, callfuncsingle; unset where the kernel has no PV IPIs.
  std::optional<std::uint64_t> resched = {};
  std::optional<std::uint64_t> callfunc = {};
  std::optional<std::uint64_t> callfuncsingle = {};
  /// Rows RES and CAL; unset where the kernel has none.
  std::optional<std::uint64_t> res = {};
  std::optional<std::uint64_t> cal = {};

  /// There are rows to count in.
  [[nodiscard]] bool is_known() const noexcept { return has_pv() || (res && cal); }
  [[nodiscard]] bool has_pv() const noexcept { return resched && callfunc && callfuncsingle; }
  /// Function calls: callfunc and callfuncsingle, or CAL.
  [[nodiscard]] std::uint64_t calls() const noexcept;
  /// What can wake a CPU: function calls and reschedules.
  [[nodiscard]] std::uint64_t wakes() const noexcept;
  ipi_counts& operator+=(const ipi_counts& other) noexcept;
  friend bool operator==(const ipi_counts&, const ipi_counts&) = default;
};

/// What the rows of `cpu` grew by.
[[nodiscard]] ipi_counts ipis_between(const interrupt_table& before, const interrupt_table& after,
                                      unsigned cpu);

/// Why the batch has to be thrown away; empty when it adds up. `calls` single IPIs to `cpu`.
[[nodiscard]] std::string doubt_calls(std::uint64_t calls, const ipi_counts& there, unsigned cpu);
/// The same of wake-ups: a CPU may be woken by either kind, and a few come for other reasons.
[[nodiscard]] std::string doubt_wakes(std::uint64_t wakes, const ipi_counts& there, unsigned cpu);

enum class ipi_type { unknown, pv, native };
[[nodiscard]] std::string_view to_string(ipi_type type) noexcept;

struct ipi_type_facts {
  ipi_type type = ipi_type::unknown;
  std::string evidence = {};
};
/// Through what the IPIs went that were counted. A row that did not grow proves nothing.
[[nodiscard]] ipi_type_facts type_of(const std::vector<ipi_counts>& counted);

}  // namespace xenpv::diag
