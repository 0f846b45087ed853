#include "watch_view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/enum_name.hpp"
#include "base/utf8.hpp"
#include "cli/table.hpp"
#include "cli/text.hpp"

namespace xenpv::evtchn_app {
namespace {

using channels::channel_rate;
using channels::rate_report;

constexpr std::size_t name_width = 22;
constexpr std::size_t cpu_width = 9;
constexpr std::size_t irq_width = 5;
constexpr std::size_t kind_width = 8;
constexpr std::size_t rate_width = 10;
constexpr std::size_t busiest_width = 10;
/// The least width at which a name can be recognized.
constexpr std::size_t shortest_name = 8;

/// The columns that fit a window: IRQ, KIND, NAME, EVENTS/S and ON, and one for each CPU.
struct watch_layout {
  std::size_t name = name_width;
  bool has_kind = true;
  bool has_busiest = true;
  bool has_cpus = false;

  /// The width of all columns except the per-CPU columns, including the blanks between them.
  [[nodiscard]] std::size_t fixed_width() const {
    return irq_width + 1 + (has_kind ? kind_width + 1 : 0) + name + 1 + rate_width +
           (has_busiest ? busiest_width + 1 : 0);
  }
};

/// Omits KIND, then ON, then shortens names.
watch_layout layout_for(const rate_report& report, unsigned columns) {
  watch_layout out;
  out.has_cpus = out.fixed_width() + report.cpus.size() * cpu_width <= columns;
  if (out.fixed_width() <= columns) return out;
  out.has_kind = false;
  out.has_busiest = out.fixed_width() - (name_width - shortest_name) <= columns;
  const auto excess = out.fixed_width() - std::min<std::size_t>(out.fixed_width(), columns);
  out.name -= std::min(excess, name_width - shortest_name);
  return out;
}

/// Formats a rate: "1234", "12.3". Uses at most six characters for rates below a million.
std::string rate_text(double rate) {
  if (rate == 0) return "0";
  return rate < 100 ? fmt::format("{:.1f}", rate) : fmt::format("{:.0f}", rate);
}

std::string summary(const rate_report& report) {
  return fmt::format("{} events/s, {:.0f} % on CPU 0; balance {:.2f}, movable {:.2f} (1 is even)",
                     rate_text(report.per_second(report.events())),
                     100 * channels::share_of_cpu0(report.cpus, report.per_cpu),
                     channels::balance_of(report.per_cpu),
                     channels::balance_of(report.movable_per_cpu));
}

/// Returns "CPU 3", or "CPU 3 71%" if other CPUs receive events as well.
std::string busiest_cpu(const channel_rate& channel, const rate_report& report) {
  if (channel.events == 0) return "";
  const auto most = std::max_element(channel.grown.begin(), channel.grown.end());
  const auto cpu = report.cpus[static_cast<std::size_t>(most - channel.grown.begin())];
  if (*most == channel.events) return fmt::format("CPU {}", cpu);
  return fmt::format("CPU {} {}%", cpu, 100 * *most / channel.events);
}

std::string short_name(const std::string& name, std::size_t width) {
  auto out = cli::printable(name);
  if (utf8_characters(out) <= width) return out;
  return fmt::format("{}+", utf8_prefix(out, width - 1));
}

std::string cells_text(const watch_layout& layout, std::string_view irq, std::string_view kind,
                       std::string_view name, std::string_view rate, std::string_view busiest) {
  auto out = fmt::format("{:>{}} ", irq, irq_width);
  if (layout.has_kind) out += fmt::format("{:<{}} ", kind, kind_width);
  out += fmt::format("{:<{}} {:>{}}", name, layout.name, rate, rate_width);
  if (layout.has_busiest) out += fmt::format(" {:<{}}", busiest, busiest_width);
  return out;
}

std::string channel_text(const watch_layout& layout, const channel_rate& channel,
                         const rate_report& report) {
  return cells_text(layout, fmt::format("{}", channel.irq), to_string(channel.kind),
                    short_name(channel.name, layout.name),
                    rate_text(report.per_second(channel.events)), busiest_cpu(channel, report));
}

/// Returns the position of the CPU with the most events; the number of CPUs if there are no events.
std::size_t busiest_position(const channel_rate& channel) {
  if (channel.events == 0) return channel.grown.size();
  return static_cast<std::size_t>(std::ranges::max_element(channel.grown) - channel.grown.begin());
}

bool comes_before(const channel_rate& a, const channel_rate& b, watch_order order) {
  switch (order) {
    case watch_order::irq:
      return a.irq < b.irq;
    case watch_order::name:
      return a.name < b.name;
    case watch_order::kind:
      return to_string(a.kind) < to_string(b.kind);
    case watch_order::cpu:
      return busiest_position(a) < busiest_position(b);
    case watch_order::rate:
      break;
  }
  return a.events > b.events;
}

/// Sorts by `order`; channels that are equal by kind or CPU are sorted by rate.
std::vector<const channel_rate*> ordered(const rate_report& report, watch_order order) {
  std::vector<const channel_rate*> out;
  out.reserve(report.channels.size());
  for (const auto& channel : report.channels)
    out.push_back(&channel);
  std::ranges::stable_sort(out, [order](const channel_rate* a, const channel_rate* b) {
    if (comes_before(*a, *b, order)) return true;
    return !comes_before(*b, *a, order) && comes_before(*a, *b, watch_order::rate);
  });
  return out;
}

std::string per_cpu_cells(const std::vector<std::uint64_t>& counts, const rate_report& report) {
  std::string out;
  for (const auto count : counts)
    out += fmt::format("{:>{}}", rate_text(report.per_second(count)), cpu_width);
  return out;
}

/// Formats the per-CPU rates, as many per line as fit. For a window that is too narrow for one
/// column per CPU.
std::vector<std::string> cpu_lines(const rate_report& report, unsigned columns) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < report.cpus.size(); ++i) {
    const auto cell = fmt::format(
        "{:<16}",
        fmt::format("CPU {}: {}", report.cpus[i], rate_text(report.per_second(report.per_cpu[i]))));
    if (out.empty() || out.back().size() + cell.size() > columns) out.emplace_back();
    out.back() += cell;
  }
  // More lines would leave too little room for the channels.
  if (out.size() > 4) {
    out.resize(4);
    out.back() = fmt::format("... and more CPUs; --json has them all");
  }
  return out;
}

/// The lines above the channels.
std::vector<std::string> head_lines(const rate_report& report, const watch_layout& layout,
                                    unsigned columns) {
  auto out = cli::wrap(summary(report), columns);
  if (!layout.has_cpus)
    for (auto& line : cpu_lines(report, columns))
      out.push_back(std::move(line));
  auto header = cells_text(layout, "IRQ", "KIND", "NAME", "EVENTS/S", "ON");
  if (layout.has_cpus) {
    for (const auto cpu : report.cpus)
      header += fmt::format("{:>{}}", fmt::format("CPU{}", cpu), cpu_width);
    out.push_back(fmt::format("{:<{}}", "all", layout.fixed_width()) +
                  per_cpu_cells(report.per_cpu, report));
  }
  out.push_back(std::move(header));
  return out;
}

std::string order_text(watch_order order) {
  return fmt::format("sorted by {}",
                     enum_name<watch_order::cpu>(order, "rate", "IRQ", "name", "kind", "CPU"));
}

std::string position_text(const watch_frame& frame, std::size_t all, watch_order order) {
  if (frame.shown == all)
    return fmt::format("{0} of {0} channels shown, {1}", all, order_text(order));
  return fmt::format("{} of {} channels shown, from {}, {}", frame.shown, all, frame.first + 1,
                     order_text(order));
}

/// Returns the longest list of keys that fits.
std::string_view keys_text(unsigned columns) {
  constexpr std::array<std::string_view, 3> texts = {
      "sort: r rate, i IRQ, n name, k kind, c CPU; scroll: arrows, PgUp, PgDn; q quits",
      "r i n k c sort; arrows scroll; q quits", "q quits"};
  for (const auto text : texts)
    if (text.size() <= columns) return text;
  return texts.back();
}

}  // namespace

watch_frame draw_watch(const rate_report& report, const watch_view& view, unsigned columns,
                       unsigned rows) {
  // Less room would leave too few lines for the channels.
  constexpr unsigned rows_for_keys = 8;
  const auto layout = layout_for(report, columns);
  watch_frame out{.lines = head_lines(report, layout, columns)};
  const std::size_t foot = rows >= rows_for_keys ? 2 : 1;
  const auto used = out.lines.size() + foot;
  const auto room = rows > used ? rows - used : 0;
  const auto all = ordered(report, view.order);
  out.shown = std::min(room, all.size());
  out.first = std::min(view.first, all.size() - out.shown);
  for (std::size_t i = out.first; i < out.first + out.shown; ++i) {
    out.lines.push_back(channel_text(layout, *all[i], report));
    if (layout.has_cpus) out.lines.back() += per_cpu_cells(all[i]->grown, report);
  }
  out.lines.resize(rows > foot ? rows - foot : 0);
  out.lines.push_back(position_text(out, all.size(), view.order));
  if (foot > 1) out.lines.emplace_back(keys_text(columns));
  for (auto& line : out.lines)
    line = std::string(utf8_prefix(line, columns));
  return out;
}

std::vector<std::string> watch_plain(const rate_report& report) {
  std::vector<std::string> out = {summary(report)};
  for (const auto& name : report.appeared)
    out.push_back(fmt::format("new: {}", cli::printable(name)));
  for (const auto& name : report.vanished)
    out.push_back(fmt::format("gone: {}", cli::printable(name)));
  for (const auto* channel : ordered(report, watch_order::rate)) {
    if (channel->events == 0) break;
    out.push_back(channel_text({}, *channel, report));
  }
  for (auto& line : out)
    while (line.ends_with(' '))
      line.pop_back();
  return out;
}

cli::json watch_json(const rate_report& report) {
  auto document = cli::json_document("xenpv-evtchn.watch", 1);
  document["interval_ns"] = report.interval.count();
  document["cpus"] = report.cpus;
  document["events"] = report.events();
  document["events_per_cpu"] = report.per_cpu;
  document["movable_events_per_cpu"] = report.movable_per_cpu;
  document["share_of_cpu0"] = channels::share_of_cpu0(report.cpus, report.per_cpu);
  document["balance"] = channels::balance_of(report.per_cpu);
  document["movable_balance"] = channels::balance_of(report.movable_per_cpu);
  document["appeared"] = report.appeared;
  document["vanished"] = report.vanished;
  document["channels"] = cli::json_array(report.channels, [&](const channel_rate& channel) {
    return cli::json{{"irq", channel.irq},
                     {"kind", to_string(channel.kind)},
                     {"name", channel.name},
                     {"events", channel.events},
                     {"per_second", report.per_second(channel.events)},
                     {"per_cpu", channel.grown}};
  });
  return document;
}

}  // namespace xenpv::evtchn_app
