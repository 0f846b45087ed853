#include "channels/rates.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace xenpv::channels {
namespace {

/// Indexes the rows by IRQ number: a table may have hundreds of rows.
std::map<unsigned, const interrupt_row*> by_irq(const interrupt_table& table) {
  std::map<unsigned, const interrupt_row*> out;
  for (const auto& row : table.rows)
    if (row.irq) out.emplace(*row.irq, &row);
  return out;
}

bool is_same(const interrupt_row& a, const interrupt_row& b) {
  return a.chip == b.chip && a.actions == b.actions;
}

/// Maps each column of the later table to the column of the same CPU in the earlier table; npos for
/// a CPU that came online in between.
std::vector<std::size_t> columns_before(const interrupt_table& before,
                                        const interrupt_table& after) {
  std::vector<std::size_t> out;
  out.reserve(after.cpus.size());
  for (const auto cpu : after.cpus) {
    const auto it = std::find(before.cpus.begin(), before.cpus.end(), cpu);
    out.push_back(it == before.cpus.end() ? std::string::npos
                                          : static_cast<std::size_t>(it - before.cpus.begin()));
  }
  return out;
}

channel_rate rate_of(const interrupt_row& then, const interrupt_row& now, channel_kind kind,
                     const std::vector<std::size_t>& columns) {
  channel_rate out{.irq = *now.irq,
                   .kind = kind,
                   .is_per_cpu = channels::is_per_cpu(now),
                   .name = now.name(),
                   .grown = {},
                   .events = 0};
  out.grown.reserve(columns.size());
  for (std::size_t column = 0; column < columns.size(); ++column) {
    const auto previous = columns[column];
    // A CPU that came back online continues from its old counts; its rate requires a second sample.
    const auto grown =
        previous == std::string::npos ? 0 : growth(then.counts[previous], now.counts[column]);
    out.grown.push_back(grown);
    out.events += grown;
  }
  return out;
}

}  // namespace

bool may_have_wrapped(std::span<const std::uint64_t> counts) noexcept {
  constexpr std::uint64_t half = std::uint64_t{1} << 31;
  return std::ranges::any_of(counts, [](std::uint64_t count) { return count >= half; });
}

std::optional<irq_growth> growth_of(const interrupt_table& before, const interrupt_table& after,
                                    unsigned irq, std::span<const unsigned> cpus) {
  const auto* then = before.find(irq);
  const auto* now = after.find(irq);
  if (then == nullptr || now == nullptr) return std::nullopt;
  irq_growth out;
  const auto columns = columns_before(before, after);
  for (std::size_t column = 0; column < columns.size(); ++column) {
    const auto previous = columns[column] == std::string::npos ? 0 : then->counts[columns[column]];
    const bool is_selected = std::find(cpus.begin(), cpus.end(), after.cpus[column]) != cpus.end();
    (is_selected ? out.there : out.elsewhere) += growth(previous, now->counts[column]);
  }
  return out;
}

std::optional<std::uint64_t> growth_on(const interrupt_table& before, const interrupt_table& after,
                                       std::string_view label, unsigned cpu) {
  const auto count_in = [&](const interrupt_table& table) -> std::optional<std::uint64_t> {
    const auto* row = table.find(label);
    const auto column = std::find(table.cpus.begin(), table.cpus.end(), cpu);
    const auto index = static_cast<std::size_t>(column - table.cpus.begin());
    if (row == nullptr || index >= row->counts.size()) return std::nullopt;
    return row->counts[index];
  };
  const auto then = count_in(before);
  const auto now = count_in(after);
  return then && now ? std::optional(growth(*then, *now)) : std::nullopt;
}

std::uint64_t rate_report::events() const noexcept {
  return sum_of(per_cpu);
}

double rate_report::per_second(std::uint64_t count) const noexcept {
  if (interval.count() <= 0) return 0;
  return static_cast<double>(count) * 1e9 / static_cast<double>(interval.count());
}

rate_report rates_between(const interrupt_table& before, const interrupt_table& after,
                          std::chrono::nanoseconds interval) {
  rate_report out{.interval = interval,
                  .cpus = after.cpus,
                  .channels = {},
                  .per_cpu = std::vector<std::uint64_t>(after.cpus.size()),
                  .movable_per_cpu = std::vector<std::uint64_t>(after.cpus.size()),
                  .appeared = {},
                  .vanished = {}};
  auto earlier = by_irq(before);
  const auto columns = columns_before(before, after);
  for (const auto& row : after.rows) {
    const auto purpose = row.irq ? purpose_of(row) : std::nullopt;
    if (!purpose) continue;
    const auto then = earlier.find(*row.irq);
    if (then == earlier.end() || !is_same(*then->second, row)) {
      out.appeared.push_back(row.name());
      continue;
    }
    auto rate = rate_of(*then->second, row, purpose->kind, columns);
    add_counts(out.per_cpu, rate.grown);
    if (!rate.is_per_cpu) add_counts(out.movable_per_cpu, rate.grown);
    out.channels.push_back(std::move(rate));
    earlier.erase(then);
  }
  for (const auto& [irq, row] : earlier)
    if (purpose_of(*row)) out.vanished.push_back(row->name());
  return out;
}

double share_of_cpu0(const std::vector<unsigned>& cpus,
                     const std::vector<std::uint64_t>& events) noexcept {
  const auto total = sum_of(events);
  const auto it = std::find(cpus.begin(), cpus.end(), 0U);
  const auto column = static_cast<std::size_t>(it - cpus.begin());
  if (total == 0 || column >= events.size()) return 0;
  return static_cast<double>(events[column]) / static_cast<double>(total);
}

double balance_of(const std::vector<std::uint64_t>& events) noexcept {
  const auto total = static_cast<double>(sum_of(events));
  if (events.size() < 2 || total == 0) return 1;
  double entropy = 0;
  for (const auto count : events) {
    if (count == 0) continue;
    const auto share = static_cast<double>(count) / total;
    entropy -= share * std::log(share);
  }
  return entropy / std::log(static_cast<double>(events.size()));
}

}  // namespace xenpv::channels
