#include "probe/charts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/parse.hpp"
#include "probe/markup.hpp"

namespace xenpv::probe {
namespace {

// Sized for a phone, so that text is not scaled there.
constexpr double chart_width = 360;
constexpr double chart_left = 42;
constexpr double chart_right = 12;
constexpr double chart_top = 16;
constexpr double chart_bottom = 28;
constexpr std::size_t curve_colours = 8;

struct frame {
  time_scale scale;
  double height;

  [[nodiscard]] double x(double nanoseconds) const {
    const auto low = std::log10(static_cast<double>(scale.low));
    const auto high = std::log10(static_cast<double>(scale.high));
    const auto position = (std::log10(std::max(nanoseconds, 1.0)) - low) / (high - low);
    return chart_left + std::clamp(position, 0.0, 1.0) * (chart_width - chart_left - chart_right);
  }
  [[nodiscard]] double y(double share) const {
    return height - chart_bottom - share * (height - chart_top - chart_bottom);
  }
};

std::string line(const char* kind, double x1, double y1, double x2, double y2) {
  return fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>",
                     kind, x1, y1, x2, y2);
}

std::string text(double x, double y, const char* anchor, std::string_view content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", x, y, anchor,
                     escaped(content));
}

std::string tick_text(std::uint64_t nanoseconds) {
  constexpr std::array<std::pair<std::uint64_t, const char*>, 3> units = {
      {{1'000'000'000, "s"}, {1'000'000, "ms"}, {1000, "us"}}};
  for (const auto& [size, name] : units)
    if (nanoseconds >= size) return fmt::format("{} {}", nanoseconds / size, name);
  return fmt::format("{} ns", nanoseconds);
}

std::string time_axis(const frame& plot) {
  std::string out = line("axis", chart_left, plot.y(0), chart_width - chart_right, plot.y(0));
  // A short axis may contain only one power of ten.
  const bool is_short = plot.scale.high < plot.scale.low * 100;
  for (std::uint64_t decade = 1; decade <= plot.scale.high; decade *= 10)
    for (const std::uint64_t step : {1ULL, 2ULL, 5ULL}) {
      const auto tick = decade * step;
      if (tick < plot.scale.low || tick > plot.scale.high || (step > 1 && !is_short)) continue;
      const auto x = plot.x(static_cast<double>(tick));
      out += line("grid", x, plot.y(1), x, plot.y(0));
      // The last label must stay inside the chart.
      out += text(x, plot.height - 8, x > chart_width - 3 * chart_right ? "end" : "middle",
                  tick_text(tick));
    }
  return out;
}

std::string share_axis(const frame& plot) {
  std::string out;
  for (const int percent : {0, 50, 100}) {
    const auto y = plot.y(percent / 100.0);
    out += line("grid", chart_left, y, chart_width - chart_right, y);
    out += text(chart_left - 4, y + 4, "end", fmt::format("{} %", percent));
  }
  return out;
}

std::string curve(const frame& plot, const latency_figures& figures, std::size_t index) {
  std::string points =
      fmt::format("{:.1f},{:.1f}", plot.x(static_cast<double>(figures.summary.min)), plot.y(0));
  std::uint64_t seen = 0;
  for (const auto& step : figures.steps) {
    seen += step.count;
    const auto share = static_cast<double>(seen) / static_cast<double>(figures.summary.samples);
    points += fmt::format(" {:.1f},{:.1f}", plot.x(static_cast<double>(step.upper)), plot.y(share));
  }
  const auto colour = index < curve_colours ? fmt::format("curve{}", index) : std::string("rest");
  return fmt::format("<polyline class=\"curve {}\" points=\"{}\"/>", colour, points);
}

std::string opening(double height, std::string_view label) {
  return fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">",
                     chart_width, height, escaped(label));
}

/// Draws the label above the bars, on the side with more space.
std::string mark(const frame& plot, const std::optional<std::uint64_t>& value, const char* name,
                 bool to_the_left) {
  if (!value) return {};
  const auto x = plot.x(static_cast<double>(*value));
  // Left of the axis, there is room for a label.
  if (x > chart_width - 40) to_the_left = true;
  return line("mark", x, plot.y(1) - 4, x, plot.y(0)) +
         text(to_the_left ? x - 3 : x + 3, plot.y(1) - 1, to_the_left ? "end" : "start", name);
}

}  // namespace

time_scale scale_of(const std::vector<named_figures>& all) {
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  for (const auto& entry : all) {
    if (entry.figures->summary.samples == 0) continue;
    const auto& summary = entry.figures->summary;
    least = most == 0 ? summary.min : std::min(least, summary.min);
    most = std::max(most, summary.max);
  }
  constexpr std::uint64_t longest = 10'000'000'000'000;
  time_scale out{.low = 1, .high = 1};
  for (std::uint64_t decade = 1; decade < longest; decade *= 10)
    for (const std::uint64_t step : {1ULL, 2ULL, 5ULL}) {
      if (decade * step <= least) out.low = decade * step;
      if (out.high < most) out.high = decade * step;
    }
  // Cover at least one decade, so that the axis has labels.
  out.high = std::max(out.high, out.low * 10);
  return out;
}

std::string distribution_svg(const std::vector<named_figures>& all) {
  const frame plot{.scale = scale_of(all), .height = 190};
  auto out = opening(plot.height, "share of samples by time, a curve for each CPU");
  out += share_axis(plot) + time_axis(plot);
  // Backwards, so that the curves with colours are on top.
  for (auto i = all.size(); i-- > 0;)
    if (all[i].figures->summary.samples > 0) out += curve(plot, *all[i].figures, i);
  return out + "</svg>\n";
}

std::string histogram_svg(const named_figures& entry, std::uint64_t low, std::uint64_t high) {
  const frame plot{.scale = {.low = low, .high = high}, .height = 150};
  constexpr std::size_t bars = 78;
  constexpr double bar_width = (chart_width - chart_left - chart_right) / bars;
  std::array<std::uint64_t, bars> counts{};
  for (const auto& step : entry.figures->steps) {
    const auto column = (plot.x(static_cast<double>(step.upper)) - chart_left) / bar_width;
    counts[std::min(static_cast<std::size_t>(column), bars - 1)] += step.count;
  }
  const auto most = std::max<std::uint64_t>(1, *std::max_element(counts.begin(), counts.end()));
  auto out = opening(plot.height, entry.name + ": number of samples by time");
  out += time_axis(plot);
  for (std::size_t i = 0; i < bars; ++i) {
    if (counts[i] == 0) continue;
    // Keep even one sample in ten thousand visible: the tail consists of such samples.
    const auto share = std::max(0.02, static_cast<double>(counts[i]) / static_cast<double>(most));
    const auto y = plot.y(share);
    out += fmt::format(
        "<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>",
        chart_left + static_cast<double>(i) * bar_width, y, bar_width - 0.4, plot.y(0) - y);
  }
  out += mark(plot, entry.figures->summary.p50, "p50", true);
  out += mark(plot, entry.figures->summary.p99, "p99", false);
  return out + "</svg>\n";
}

}  // namespace xenpv::probe
