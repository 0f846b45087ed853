#include "probe/ipi_counts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "base/enum_name.hpp"
#include "channels/channel_kind.hpp"
#include "channels/rates.hpp"

namespace xenpv::probe {
namespace {

using growth = std::optional<std::uint64_t>;

/// Returns the delta of `cpu`'s event channel for this kind of IPI.
growth channel_growth(const channels::interrupt_table& before,
                      const channels::interrupt_table& after, std::string_view detail,
                      unsigned cpu) {
  const auto* row = channels::find_row(
      after, {.kind = channels::channel_kind::ipi, .detail = std::string(detail), .cpu = cpu});
  return row == nullptr ? std::nullopt : channels::growth_on(before, after, row->label, cpu);
}

/// Returns the delta, on `cpu`, of the GIC's IPI rows with one of the descriptions; nullopt if
/// there is no such row (ipi_types[] in arch/arm/kernel/smp.c and arch/arm64/kernel/smp.c).
growth gic_growth(const channels::interrupt_table& before, const channels::interrupt_table& after,
                  std::initializer_list<std::string_view> descriptions, unsigned cpu) {
  growth sum;
  for (const auto& row : after.rows) {
    if (!row.label.starts_with("IPI")) continue;
    if (std::ranges::count(descriptions, row.description) == 0) continue;
    if (const auto grown = channels::growth_on(before, after, row.label, cpu))
      sum = sum.value_or(0) + *grown;
  }
  return sum;
}

void add(growth& sum, const growth& value) {
  if (value) sum = sum.value_or(0) + *value;
}

}  // namespace

std::uint64_t ipi_counts::calls() const noexcept {
  if (has_pv()) return *callfunc + *callfuncsingle;
  return has_gic() ? *gic_callfunc : cal.value_or(0);
}

std::uint64_t ipi_counts::wakes() const noexcept {
  if (has_pv()) return calls() + *resched;
  return calls() + (has_gic() ? *gic_resched : res.value_or(0));
}

ipi_counts& ipi_counts::operator+=(const ipi_counts& other) noexcept {
  add(resched, other.resched);
  add(callfunc, other.callfunc);
  add(callfuncsingle, other.callfuncsingle);
  add(res, other.res);
  add(cal, other.cal);
  add(gic_resched, other.gic_resched);
  add(gic_callfunc, other.gic_callfunc);
  return *this;
}

ipi_counts ipis_between(const channels::interrupt_table& before,
                        const channels::interrupt_table& after, unsigned cpu) {
  return {.resched = channel_growth(before, after, "resched", cpu),
          .callfunc = channel_growth(before, after, "callfunc", cpu),
          .callfuncsingle = channel_growth(before, after, "callfuncsingle", cpu),
          .res = channels::growth_on(before, after, "RES", cpu),
          .cal = channels::growth_on(before, after, "CAL", cpu),
          .gic_resched = gic_growth(before, after, {"Rescheduling interrupts"}, cpu),
          // Before Linux 3.17, ARM counts single function calls in a separate row.
          .gic_callfunc = gic_growth(
              before, after, {"Function call interrupts", "Single function call interrupts"}, cpu)};
}

std::string doubt_calls(std::uint64_t calls, const ipi_counts& counts, unsigned cpu) {
  const auto counted = counts.calls();
  if (counted == calls) return {};
  return fmt::format("{} calls, and CPU {} counted {} IPIs: {}", calls, cpu, counted,
                     counted < calls ? "the measuring thread there was not always running"
                                     : "other IPIs arrived too");
}

std::string doubt_wakes(std::uint64_t wakes, const ipi_counts& counts, unsigned cpu) {
  const auto counted = counts.wakes();
  // Allow for wake-ups that cause two IPIs and for a few unrelated IPIs; the IPIs of the wake-ups
  // are still included.
  const auto most = wakes + wakes / 2 + 4;
  if (counted >= wakes && counted <= most) return {};
  return fmt::format("{} wake-ups, and CPU {} counted {} IPIs: {}", wakes, cpu, counted,
                     counted < wakes
                         ? "it was not always asleep, or it polls when idle (idle=poll, haltpoll)"
                         : "other IPIs arrived too");
}

std::string_view to_string(ipi_type type) noexcept {
  return enum_name<ipi_type::native>(type, "unknown", "pv", "native");
}

ipi_type_facts type_of(const std::vector<ipi_counts>& counted) {
  ipi_counts sum;
  for (const auto& counts : counted)
    sum += counts;
  if (sum.has_gic() && sum.wakes() > 0)
    return {
        ipi_type::native,
        fmt::format("the GIC's IPI rows counted {} IPIs; ARM guests have no PV IPIs", sum.wakes())};
  const auto channels =
      sum.resched.value_or(0) + sum.callfunc.value_or(0) + sum.callfuncsingle.value_or(0);
  const auto rows = sum.res.value_or(0) + sum.cal.value_or(0);
  if (channels == 0 && rows == 0) return {.evidence = "no IPI was counted"};
  // PV handlers also increment RES and CAL, so native IPIs show as an excess in these rows.
  const auto text = fmt::format("event channels counted {} IPIs, RES and CAL {}", channels, rows);
  if (channels == 0) return {ipi_type::native, text};
  if (rows == 0 || channels * 10 >= rows * 9) return {ipi_type::pv, text};
  return {ipi_type::unknown, text + ": some IPIs took another path"};
}

}  // namespace xenpv::probe
