#include "channels/interrupts.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>

#include "base/words.hpp"

namespace xenpv::channels {
namespace {

/// Chip names in drivers/xen/events. Old kernels append the handler to the chip name.
constexpr std::array<std::string_view, 4> xen_chips = {"xen-dyn-lateeoi", "xen-dyn", "xen-percpu",
                                                       "xen-pirq"};
/// Flow handlers that old kernels append to other chips: "IO-APIC-fasteoi", "PCI-MSI-edge",
/// "Dynamic-irq-level".
constexpr std::array<std::string_view, 4> glued_handlers = {"-edge", "-level", "-fasteoi",
                                                            "-percpu"};

bool is_xen_chip(std::string_view chip) {
  return std::find(xen_chips.begin(), xen_chips.end(), chip) != xen_chips.end();
}

/// "           CPU0       CPU2" -> {0, 2}; empty for any other line.
std::vector<unsigned> header_cpus(std::string_view line) {
  std::vector<unsigned> cpus;
  while (const auto word = next_word(line)) {
    const auto cpu =
        word->starts_with("CPU") ? parse_whole<unsigned>(word->substr(3)) : std::nullopt;
    if (!cpu) return {};
    cpus.push_back(*cpu);
  }
  return cpus;
}

/// "xen-percpu-ipi" -> "xen-percpu" and "ipi".
void take_chip(std::string_view word, interrupt_row& row) {
  row.chip = std::string(word);
  for (const auto chip : xen_chips)
    if (word.size() > chip.size() + 1 && word.starts_with(chip) && word[chip.size()] == '-' &&
        !is_xen_chip(word)) {
      row.chip = std::string(chip);
      row.handler = std::string(word.substr(chip.size() + 1));
      return;
    }
}

/// Splits the handler from the chip name (old kernels only).
void split_glued_handler(interrupt_row& row) {
  if (is_xen_chip(row.chip)) return;
  for (const auto handler : glued_handlers)
    if (row.chip.size() > handler.size() && row.chip.ends_with(handler)) {
      row.handler = handler.substr(1);
      row.chip.erase(row.chip.size() - handler.size());
      return;
    }
}

/// Parses the hardware IRQ number, which x86 kernels follow with "-" and the handler: "26",
/// "65536-edge".
bool take_hwirq(std::string_view word, interrupt_row& row) {
  const auto dash = word.find('-');
  const auto number = parse_whole<std::uint64_t>(word.substr(0, dash));
  if (!number) return false;
  row.hwirq = *number;
  if (dash != std::string_view::npos) row.handler = std::string(word.substr(dash + 1));
  return true;
}

void take_actions(std::string_view tail, interrupt_row& row) {
  tail = trim(tail);
  while (!tail.empty()) {
    const auto end = tail.find(", ");
    const auto action = trim(tail.substr(0, end));
    if (!action.empty()) row.actions.emplace_back(action);
    tail = end == std::string_view::npos ? std::string_view() : tail.substr(end + 2);
  }
}

void take_tail(std::string_view tail, interrupt_row& row) {
  const auto chip = next_word(tail);
  if (!chip) return;
  take_chip(*chip, row);
  if (row.handler.empty()) {
    auto rest = tail;
    const auto word = next_word(rest);
    if (word && take_hwirq(*word, row)) tail = rest;
  }
  auto rest = tail;
  if (const auto word = next_word(rest); word && (*word == "Level" || *word == "Edge")) {
    row.trigger = *word == "Level" ? interrupt_trigger::level : interrupt_trigger::edge;
    tail = rest;
  }
  rest = tail;
  if (const auto word = next_word(rest);
      row.handler.empty() && word && word->size() > 1 && word->front() == '-') {
    row.handler = std::string(word->substr(1));
    tail = rest;
  }
  if (row.handler.empty() && !row.hwirq) split_glued_handler(row);
  take_actions(tail, row);
}

/// Returns the parse error, or an empty string for a valid row.
std::string take_row(std::string_view line, std::size_t cpus, interrupt_row& row) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return "no label";
  row.label = std::string(trim(line.substr(0, colon)));
  if (row.label.empty()) return "no label";
  row.irq = parse_whole<unsigned>(row.label);
  auto rest = line.substr(colon + 1);
  while (row.counts.size() < cpus) {
    auto after = rest;
    const auto word = next_word(after);
    const auto count = word ? parse_whole<std::uint64_t>(*word) : std::nullopt;
    if (!count) break;
    row.counts.push_back(*count);
    rest = after;
  }
  if (row.irq && row.counts.size() < cpus)
    return fmt::format("{} counts for {} CPUs", row.counts.size(), cpus);
  if (row.counts.empty()) return "no counts";
  if (row.irq)
    take_tail(rest, row);
  else
    row.description = std::string(trim(rest));
  return {};
}

}  // namespace

std::string interrupt_row::name() const {
  return fmt::format("{}", fmt::join(actions, ", "));
}

std::uint64_t interrupt_row::total() const noexcept {
  return sum_of(counts);
}

std::uint64_t sum_of(const std::vector<std::uint64_t>& counts) noexcept {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

void add_counts(std::vector<std::uint64_t>& sums,
                const std::vector<std::uint64_t>& counts) noexcept {
  for (std::size_t column = 0; column < counts.size() && column < sums.size(); ++column)
    sums[column] += counts[column];
}

const interrupt_row* interrupt_table::find(std::string_view label) const noexcept {
  const auto it = std::find_if(rows.begin(), rows.end(),
                               [label](const interrupt_row& row) { return row.label == label; });
  return it == rows.end() ? nullptr : &*it;
}

const interrupt_row* interrupt_table::find(unsigned irq) const noexcept {
  const auto it = std::find_if(rows.begin(), rows.end(),
                               [irq](const interrupt_row& row) { return row.irq == irq; });
  return it == rows.end() ? nullptr : &*it;
}

result<interrupt_table> parse_interrupts(std::string_view text) {
  interrupt_table table;
  while (!text.empty()) {
    const auto line = next_line(text);
    if (trim(line).empty()) continue;
    if (table.cpus.empty()) {
      table.cpus = header_cpus(line);
      if (table.cpus.empty()) break;
      continue;
    }
    interrupt_row row;
    if (const auto problem = take_row(line, table.cpus.size(), row); !problem.empty())
      table.problems.push_back(fmt::format("{}: {}", problem, trim(line).substr(0, 60)));
    else
      table.rows.push_back(std::move(row));
  }
  if (table.cpus.empty())
    return make_error(errc::protocol_violation, "read /proc/interrupts",
                      "the first line lists no CPUs");
  return table;
}

}  // namespace xenpv::channels
