#include "doctor/health_page_parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "base/parse.hpp"
#include "probe/charts.hpp"
#include "probe/heat_map.hpp"
#include "probe/heat_scale.hpp"
#include "probe/markup.hpp"

namespace xenpv::doctor {
namespace {

using channels::sum_of;

constexpr std::size_t colours = 8;
/// A longer table is collapsed.
constexpr std::size_t most_open_rows = 16;
/// A larger heat map has small cells without text.
constexpr std::size_t most_columns_with_labels = 16;

std::string time_text(const std::optional<std::uint64_t>& nanoseconds) {
  if (!nanoseconds) return "&ndash;";
  return format_nanoseconds(*nanoseconds);
}

/// Returns the kinds with the most events. If there are too many kinds, the last entry is the sum
/// of the remaining ones.
std::vector<event_counts::kind_counts> largest_kinds(const event_counts& events) {
  auto kinds = events.kinds;
  std::erase_if(kinds, [](const auto& kind) { return sum_of(kind.counts) == 0; });
  std::ranges::stable_sort(kinds, std::ranges::greater(),
                           [](const auto& kind) { return sum_of(kind.counts); });
  if (kinds.size() <= colours) return kinds;
  event_counts::kind_counts remaining{.kind = "other kinds",
                                      .counts = std::vector<std::uint64_t>(events.cpus.size())};
  for (std::size_t i = colours - 1; i < kinds.size(); ++i)
    channels::add_counts(remaining.counts, kinds[i].counts);
  kinds.resize(colours - 1);
  kinds.push_back(std::move(remaining));
  return kinds;
}

std::string bar(const std::vector<event_counts::kind_counts>& kinds, std::size_t cpu,
                std::uint64_t most) {
  std::string out = "<div class=\"track\">";
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const auto count = kinds[i].counts[cpu];
    if (count == 0) continue;
    out += fmt::format("<i class=\"k{}\" style=\"width:{:.2f}%\" title=\"{}: {}\"></i>", i,
                       100.0 * static_cast<double>(count) / static_cast<double>(most),
                       probe::escaped(kinds[i].kind), probe::grouped_digits(count));
  }
  return out + "</div>";
}

std::vector<probe::named_figures> named(const measurement& measured) {
  std::vector<probe::named_figures> out;
  for (const auto& timer : measured.timers)
    if (timer.late.summary.samples > 0)
      out.push_back({.name = fmt::format("CPU {}", timer.cpu), .figures = &timer.late});
  return out;
}

std::string curve_legend(const std::vector<probe::named_figures>& all) {
  std::string out = "<ul class=\"legend\">";
  for (std::size_t i = 0; i < all.size() && i < colours; ++i)
    out += fmt::format("<li><i class=\"k{}\"></i>{}</li>", i, probe::escaped(all[i].name));
  if (all.size() > colours)
    out += fmt::format("<li><i class=\"rest\"></i>{} others</li>", all.size() - colours);
  return out + "</ul>";
}

/// Renders the latency distributions of all CPUs in one chart, then one histogram per CPU. With
/// many CPUs, only those with the highest maximum lateness have colours and histograms.
std::string charts(std::vector<probe::named_figures> all) {
  const auto scale = probe::scale_of(all);
  std::string note;
  if (all.size() > colours) {
    std::ranges::stable_sort(all, std::ranges::greater(),
                             [](const auto& entry) { return entry.figures->summary.max; });
    note = fmt::format(
        "<p class=\"soft\">Colours and histograms: the {} CPUs with the highest maximum "
        "lateness.</p>",
        colours);
  }
  std::string out =
      fmt::format("<figure><figcaption>share of timers by lateness</figcaption>{}{}</figure>",
                  probe::distribution_svg(all), curve_legend(all));
  all.resize(std::min(all.size(), colours));
  for (const auto& entry : all) {
    const auto& s = entry.figures->summary;
    out += fmt::format(
        "<figure><figcaption>{}: {} samples, p50 {}, p99 {}, max {}</figcaption>{}</figure>",
        probe::escaped(entry.name), probe::grouped_digits(s.samples), time_text(s.p50),
        time_text(s.p99), time_text(s.max), probe::histogram_svg(entry, scale.low, scale.high));
  }
  return note + "<div class=\"charts\">" + out + "</div>";
}

std::string timer_table(const measurement& measured) {
  std::string out =
      "<div class=\"card wide\"><table "
      "class=\"figures\"><tr><th>CPU</th><th>samples</th><th>min</th>"
      "<th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>lost</th>"
      "<th class=\"left\">verdict</th></tr>";
  for (const auto& timer : measured.timers) {
    const auto& s = timer.late.summary;
    out += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</"
        "td>"
        "<td>{}</td><td class=\"left\" title=\"{}\">{}</td></tr>",
        timer.cpu, probe::grouped_digits(s.samples), time_text(s.min), time_text(s.p50),
        time_text(s.p90), time_text(s.p99), time_text(s.p99_9), time_text(s.max),
        probe::grouped_digits(timer.lost), probe::escaped(timer.reason),
        probe::escaped(timer.verdict));
  }
  out += "</table></div>\n";
  if (measured.timers.size() <= most_open_rows) return out;
  return fmt::format("<details><summary>the figures of {} CPUs</summary>{}</details>\n",
                     measured.timers.size(), out);
}

probe::heat_cell cell_of(const measured_ipi& pair) {
  probe::heat_cell out;
  const auto median = pair.round_trips.summary.p50;
  out.doubtful = pair.verdict != "verified";
  out.is_baseline = pair.from == pair.to;
  out.label = median ? time_text(median) : probe::escaped(pair.verdict);
  const auto p99 = pair.round_trips.summary.p99;
  out.tip = fmt::format("CPU {} to CPU {}: median {}, {} samples, p99 {}, {}", pair.from, pair.to,
                        median ? format_nanoseconds(*median) : "-",
                        pair.round_trips.summary.samples, p99 ? format_nanoseconds(*p99) : "-",
                        pair.reason.empty() ? pair.verdict : pair.reason);
  if (median) out.value = static_cast<double>(*median);
  return out;
}

const measured_ipi* find_pair(const measurement& measured, unsigned from, unsigned to) {
  for (const auto& pair : measured.ipis)
    if (pair.from == from && pair.to == to) return &pair;
  return nullptr;
}

/// Cells without a colour of the scale get theirs from the style sheet.
std::string heat_td(const measured_ipi* pair, const probe::heat_scale& scale, bool has_label) {
  if (pair == nullptr) return "<td></td>";
  const auto cell = cell_of(*pair);
  std::string_view kind = cell.is_baseline ? "self" : "none";
  std::string paint;
  if (scale.position_of(cell)) {
    kind = "";
    const auto [fill, ink] = scale.paint_of(cell);
    paint = fmt::format(" style=\"background-color:{};color:{}\"", fill, ink);
  }
  return fmt::format("<td class=\"{}{}\"{} title=\"{}\">{}</td>", kind,
                     !cell.doubtful ? ""
                     : kind.empty() ? "doubt"
                                    : " doubt",
                     paint, probe::escaped(cell.tip), has_label ? cell.label : "");
}

/// The colours of the scale with their values, and the other cells.
std::string heat_legend(const probe::heat_scale& scale) {
  std::string out;
  if (scale.has_values()) {
    std::string stops;
    std::string values;
    for (const auto position : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      stops += fmt::format(",{}", to_string(probe::heat_scale::colour_at(position)));
      values += fmt::format(
          "<span>{}</span>",
          format_nanoseconds(static_cast<std::uint64_t>(std::llround(scale.value_at(position)))));
    }
    out = fmt::format(
        "<div class=\"scale\"><i style=\"background-image:linear-gradient(90deg{})\"></i>{}</div>",
        stops, values);
  }
  return out +
         "<ul class=\"legend\"><li><i class=\"self\"></i>the same call without an IPI</li>"
         "<li><i class=\"none doubt\"></i>not verified by /proc/interrupts</li></ul>";
}

std::string heat_table(const measurement& measured) {
  std::set<unsigned> cpus;
  std::vector<probe::heat_cell> cells;
  for (const auto& pair : measured.ipis) {
    cpus.insert({pair.from, pair.to});
    cells.push_back(cell_of(pair));
  }
  const probe::heat_scale scale(cells);
  const bool has_labels = cpus.size() <= most_columns_with_labels;
  auto out = fmt::format(
      "<div class=\"wide\"><table class=\"heat{}\"><tr><th class=\"left\">from \\ to</th>",
      has_labels ? "" : " many");
  for (const auto to : cpus)
    out += fmt::format("<th>{}{}</th>", has_labels ? "CPU " : "", to);
  out += "</tr>";
  for (const auto from : cpus) {
    out += fmt::format("<tr><th class=\"left\">CPU {}</th>", from);
    for (const auto to : cpus)
      out += heat_td(find_pair(measured, from, to), scale, has_labels);
    out += "</tr>";
  }
  return out + "</table></div>" + heat_legend(scale);
}

}  // namespace

std::string balance_section(const event_counts& events) {
  const auto kinds = largest_kinds(events);
  if (kinds.empty()) return {};
  std::vector<std::uint64_t> sums(events.cpus.size());
  for (const auto& kind : kinds)
    channels::add_counts(sums, kind.counts);
  const auto most = std::max<std::uint64_t>(1, *std::max_element(sums.begin(), sums.end()));
  std::string out =
      "<section><h2>Interrupt balance</h2><figure><figcaption>events since boot, by CPU and "
      "kind</figcaption><div class=\"load\">";
  for (std::size_t cpu = 0; cpu < sums.size(); ++cpu)
    out += fmt::format("<span>CPU {}</span>{}<span>{}</span>", events.cpus[cpu],
                       bar(kinds, cpu, most), probe::grouped_digits(sums[cpu]));
  out += "</div><ul class=\"legend\">";
  for (std::size_t i = 0; i < kinds.size(); ++i)
    out += fmt::format("<li><i class=\"k{}\"></i>{} {}</li>", i, probe::escaped(kinds[i].kind),
                       probe::grouped_digits(sum_of(kinds[i].counts)));
  return out + "</ul></figure></section>\n";
}

std::string timer_section(const measurement& measured) {
  const auto all = named(measured);
  if (all.empty()) return {};
  return fmt::format(
      "<section><h2>Timers</h2><p class=\"soft\">How late threads woke from a {} timer under {}, "
      "in {} rounds.</p>{}{}</section>\n",
      time_text(measured.interval_ns), probe::escaped(measured.scheduling),
      all.front().figures->rounds.size(), charts(all), timer_table(measured));
}

std::string ipi_section(const measurement& measured) {
  if (measured.ipis.empty()) return {};
  return fmt::format(
      "<section><h2>IPIs</h2><p class=\"soft\">Median round-trip times of an IPI from one running "
      "CPU to another and its reply (membarrier).{}</p><div class=\"card\">{}</div></section>\n",
      measured.no_ipis.empty() ? "" : " Omitted: " + probe::escaped(measured.no_ipis),
      heat_table(measured));
}

}  // namespace xenpv::doctor
