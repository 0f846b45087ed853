#include "watch_view.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.hpp"
#include "cli/table.hpp"

namespace xenpv::evtchn_app {
namespace {

using channels::channel_rate;
using channels::rate_report;

constexpr std::size_t name_width = 22;
constexpr std::size_t cpu_width = 9;
/// The width of the columns IRQ, KIND, NAME, EVENTS/S and ON, including the blanks between them.
constexpr std::size_t fixed_width = 5 + 1 + 8 + 1 + name_width + 1 + 10 + 1 + 10;

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

std::string short_name(const std::string& name) {
  auto out = cli::printable(name);
  if (utf8_characters(out) <= name_width) return out;
  return fmt::format("{}+", utf8_prefix(out, name_width - 1));
}

std::string fixed_cells(const channel_rate& channel, const rate_report& report) {
  return fmt::format("{:>5} {:<8} {:<{}} {:>10} {:<10}", channel.irq, to_string(channel.kind),
                     short_name(channel.name), name_width,
                     rate_text(report.per_second(channel.events)), busiest_cpu(channel, report));
}

std::vector<const channel_rate*> ordered(const rate_report& report, watch_order order) {
  std::vector<const channel_rate*> out;
  out.reserve(report.channels.size());
  for (const auto& channel : report.channels)
    out.push_back(&channel);
  std::stable_sort(out.begin(), out.end(), [order](const channel_rate* a, const channel_rate* b) {
    if (order == watch_order::rate) return a->events > b->events;
    return order == watch_order::irq ? a->irq < b->irq : a->name < b->name;
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

}  // namespace

std::vector<std::string> watch_lines(const rate_report& report, watch_order order, unsigned columns,
                                     unsigned rows) {
  const bool wide = fixed_width + report.cpus.size() * cpu_width <= columns;
  std::vector<std::string> out = {summary(report)};
  if (!wide)
    for (auto& line : cpu_lines(report, columns))
      out.push_back(std::move(line));
  auto header = fmt::format("{:>5} {:<8} {:<{}} {:>10} {:<10}", "IRQ", "KIND", "NAME", name_width,
                            "EVENTS/S", "ON");
  if (wide) {
    for (const auto cpu : report.cpus)
      header += fmt::format("{:>{}}", fmt::format("CPU{}", cpu), cpu_width);
    out.push_back(fmt::format("{:<{}}", "all", fixed_width) +
                  per_cpu_cells(report.per_cpu, report));
  }
  out.push_back(std::move(header));
  for (const auto* channel : ordered(report, order)) {
    if (out.size() + 1 >= rows) break;
    out.push_back(fixed_cells(*channel, report) +
                  (wide ? per_cpu_cells(channel->grown, report) : std::string()));
  }
  while (out.size() + 1 < rows)
    out.emplace_back();
  out.push_back(
      fmt::format("{} channels; sort by r rate, i IRQ, n name; q quits", report.channels.size()));
  for (auto& line : out)
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
    out.push_back(fixed_cells(*channel, report));
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
