#include "diag/health_page_parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "diag/charts.hpp"
#include "diag/heat_scale.hpp"
#include "diag/markup.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/diag/heat_map.hpp"

namespace xenpv::diag {
namespace {

constexpr std::size_t colours = 8;
/// Of more CPUs than that only the latest ones have a histogram of their own.
constexpr std::size_t most_histograms = 8;

std::string time_text(const std::optional<std::uint64_t>& nanoseconds) {
  if (!nanoseconds) return "&ndash;";
  return format_nanoseconds(*nanoseconds);
}

std::uint64_t sum_of(const std::vector<std::uint64_t>& counts) {
  std::uint64_t sum = 0;
  for (const auto each : counts)
    sum += each;
  return sum;
}

/// The kinds with most events; what is left over goes into the last one.
std::vector<event_counts::of_kind> largest_kinds(const event_counts& events) {
  auto kinds = events.kinds;
  std::erase_if(kinds, [](const event_counts::of_kind& each) { return sum_of(each.counts) == 0; });
  std::stable_sort(kinds.begin(), kinds.end(), [](const auto& a, const auto& b) {
    return sum_of(a.counts) > sum_of(b.counts);
  });
  if (kinds.size() <= colours) return kinds;
  event_counts::of_kind rest{.kind = "the rest",
                             .counts = std::vector<std::uint64_t>(events.cpus.size())};
  for (std::size_t i = colours - 1; i < kinds.size(); ++i)
    for (std::size_t cpu = 0; cpu < events.cpus.size(); ++cpu)
      rest.counts[cpu] += kinds[i].counts[cpu];
  kinds.resize(colours - 1);
  kinds.push_back(std::move(rest));
  return kinds;
}

std::string bar(const std::vector<event_counts::of_kind>& kinds, std::size_t cpu,
                std::uint64_t most) {
  std::string out = "<div class=\"track\">";
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const auto count = kinds[i].counts[cpu];
    if (count == 0) continue;
    out += fmt::format("<i class=\"k{}\" style=\"width:{:.2f}%\" title=\"{}: {}\"></i>", i,
                       100.0 * static_cast<double>(count) / static_cast<double>(most),
                       escaped(kinds[i].kind), count);
  }
  return out + "</div>";
}

std::vector<named_figures> named(const measurement& of) {
  std::vector<named_figures> out;
  for (const auto& each : of.timers)
    if (each.late.summary.samples > 0)
      out.push_back({.name = fmt::format("CPU {}", each.cpu), .figures = &each.late});
  return out;
}

std::string curve_legend(const std::vector<named_figures>& all) {
  std::string out = "<ul class=\"legend\">";
  for (std::size_t i = 0; i < all.size() && i < colours; ++i)
    out += fmt::format("<li><i class=\"k{}\"></i>{}</li>", i, escaped(all[i].name));
  if (all.size() > colours)
    out += fmt::format("<li>colours begin anew with {}</li>", escaped(all[colours].name));
  return out + "</ul>";
}

/// The distribution of all, then a histogram of each.
std::string charts(std::vector<named_figures> all) {
  const auto scale = scale_of(all);
  std::string note;
  std::string out = fmt::format(
      "<figure><figcaption>share of timers that were at most so late</figcaption>{}{}</figure>",
      distribution_svg(all), curve_legend(all));
  if (all.size() > most_histograms) {
    std::stable_sort(all.begin(), all.end(), [](const named_figures& a, const named_figures& b) {
      return a.figures->summary.max > b.figures->summary.max;
    });
    all.resize(most_histograms);
    note = fmt::format("<p class=\"soft\">Histograms of the {} CPUs with the latest timers.</p>",
                       most_histograms);
  }
  for (const auto& each : all)
    out += fmt::format(
        "<figure><figcaption>{}: {} samples, p50 {}, p99 {}, max {}</figcaption>{}</figure>",
        escaped(each.name), each.figures->summary.samples, time_text(each.figures->summary.p50),
        time_text(each.figures->summary.p99), time_text(each.figures->summary.max),
        histogram_svg(each, scale.low, scale.high));
  return note + "<div class=\"charts\">" + out + "</div>";
}

std::string timer_table(const measurement& of) {
  std::string out =
      "<div class=\"card wide\"><table "
      "class=\"figures\"><tr><th>CPU</th><th>samples</th><th>min</th>"
      "<th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>lost</th>"
      "<th class=\"left\">proof</th></tr>";
  for (const auto& each : of.timers) {
    const auto& s = each.late.summary;
    out += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</"
        "td>"
        "<td>{}</td><td class=\"left\" title=\"{}\">{}</td></tr>",
        each.cpu, s.samples, time_text(s.min), time_text(s.p50), time_text(s.p90), time_text(s.p99),
        time_text(s.p99_9), time_text(s.max), each.lost, escaped(each.reason),
        escaped(each.verdict));
  }
  return out + "</table></div>\n";
}

heat_cell cell_of(const measured_ipi& pair) {
  heat_cell out;
  const auto median = pair.round_trips.summary.p50;
  out.doubtful = pair.verdict != "verified";
  out.label = median ? time_text(median) : pair.verdict;
  out.tip =
      fmt::format("CPU {} to CPU {}: {} samples, p99 {}, {}", pair.from, pair.to,
                  pair.round_trips.summary.samples,
                  pair.round_trips.summary.p99 ? time_text(pair.round_trips.summary.p99) : "-",
                  pair.reason.empty() ? pair.verdict : pair.reason);
  if (median && pair.from != pair.to) out.value = static_cast<double>(*median);
  return out;
}

const measured_ipi* find_pair(const measurement& of, unsigned from, unsigned to) {
  const auto found = std::find_if(of.ipis.begin(), of.ipis.end(), [&](const measured_ipi& each) {
    return each.from == from && each.to == to;
  });
  return found == of.ipis.end() ? nullptr : &*found;
}

std::string heat_td(const measured_ipi* pair, const heat_scale& scale) {
  if (pair == nullptr) return "<td></td>";
  const auto cell = cell_of(*pair);
  const auto [fill, ink] = scale.paint_of(cell);
  const bool is_self = pair->from == pair->to;
  return fmt::format(
      "<td class=\"{}{}\" style=\"background-color:{};color:{}\" title=\"{}\">{}</td>",
      cell.doubtful ? "doubt " : "", is_self ? "self" : "", fill, ink, escaped(cell.tip),
      cell.label.find('&') == std::string::npos ? escaped(cell.label) : cell.label);
}

std::string heat_table(const measurement& of) {
  std::set<unsigned> cpus;
  std::vector<heat_cell> cells;
  for (const auto& each : of.ipis) {
    cpus.insert({each.from, each.to});
    cells.push_back(cell_of(each));
  }
  const heat_scale scale(cells);
  std::string out = "<table class=\"heat\"><tr><th class=\"left\">from \\ to</th>";
  for (const auto to : cpus)
    out += fmt::format("<th>CPU {}</th>", to);
  out += "</tr>";
  for (const auto from : cpus) {
    out += fmt::format("<tr><th class=\"left\">CPU {}</th>", from);
    for (const auto to : cpus)
      out += heat_td(find_pair(of, from, to), scale);
    out += "</tr>";
  }
  return out + "</table>";
}

}  // namespace

std::string balance_section(const event_counts& events) {
  const auto kinds = largest_kinds(events);
  if (kinds.empty()) return {};
  std::vector<std::uint64_t> sums(events.cpus.size());
  for (const auto& kind : kinds)
    for (std::size_t cpu = 0; cpu < sums.size(); ++cpu)
      sums[cpu] += kind.counts[cpu];
  const auto most = std::max<std::uint64_t>(1, *std::max_element(sums.begin(), sums.end()));
  std::string out =
      "<section><h2>Interrupt balance</h2><figure><figcaption>events since boot, by CPU and "
      "kind</figcaption><div class=\"load\">";
  for (std::size_t cpu = 0; cpu < sums.size(); ++cpu)
    out += fmt::format("<span>CPU {}</span>{}<span>{}</span>", events.cpus[cpu],
                       bar(kinds, cpu, most), sums[cpu]);
  out += "</div><ul class=\"legend\">";
  for (std::size_t i = 0; i < kinds.size(); ++i)
    out += fmt::format("<li><i class=\"k{}\"></i>{} {}</li>", i, escaped(kinds[i].kind),
                       sum_of(kinds[i].counts));
  return out + "</ul></figure></section>\n";
}

std::string timer_section(const measurement& of) {
  const auto all = named(of);
  if (all.empty()) return {};
  return fmt::format(
      "<section><h2>Timers</h2><p class=\"soft\">How late threads woke from a timer of {}, {}, in "
      "{} "
      "rounds.</p>{}{}</section>\n",
      time_text(of.interval_ns), escaped(of.scheduling), all.front().figures->rounds.size(),
      charts(all), timer_table(of));
}

std::string ipi_section(const measurement& of) {
  if (of.ipis.empty()) return {};
  return fmt::format(
      "<section><h2>IPIs</h2><p class=\"soft\">An interrupt from one running CPU to another and "
      "its "
      "answer (membarrier), medians. On the diagonal the same call without an interrupt. Hatched: "
      "not proven by /proc/interrupts.{}</p><div class=\"card wide\">{}</div></section>\n",
      of.no_ipis.empty() ? "" : " Left out: " + escaped(of.no_ipis), heat_table(of));
}

}  // namespace xenpv::diag
