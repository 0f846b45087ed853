#include "diag/charts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "diag/markup.hpp"
#include "xenpv/base/parse.hpp"

namespace xenpv::diag {
namespace {

// Of the size in which it is shown on a phone, so that text keeps its own.
constexpr double width = 360;
constexpr double left = 42;
constexpr double right = 12;
constexpr double top = 16;
constexpr double bottom = 28;
constexpr std::size_t curve_colours = 8;

struct frame {
  time_scale scale;
  double height;

  [[nodiscard]] double x(double nanoseconds) const {
    const auto low = std::log10(static_cast<double>(scale.low));
    const auto high = std::log10(static_cast<double>(scale.high));
    const auto at = (std::log10(std::max(nanoseconds, 1.0)) - low) / (high - low);
    return left + std::clamp(at, 0.0, 1.0) * (width - left - right);
  }
  [[nodiscard]] double y(double share) const {
    return height - bottom - share * (height - top - bottom);
  }
};

std::string line(const char* kind, double x1, double y1, double x2, double y2) {
  return fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>",
                     kind, x1, y1, x2, y2);
}

std::string text(double x, double y, const char* anchor, std::string_view words) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", x, y, anchor,
                     escaped(words));
}

std::string decade_text(std::uint64_t nanoseconds) {
  constexpr std::array<std::pair<std::uint64_t, const char*>, 3> units = {
      {{1'000'000'000, "s"}, {1'000'000, "ms"}, {1000, "us"}}};
  for (const auto& [size, name] : units)
    if (nanoseconds >= size) return fmt::format("{} {}", nanoseconds / size, name);
  return fmt::format("{} ns", nanoseconds);
}

std::string time_axis(const frame& in) {
  std::string out = line("axis", left, in.y(0), width - right, in.y(0));
  for (std::uint64_t at = 1; at <= in.scale.high; at *= 10) {
    if (at < in.scale.low) continue;
    const auto x = in.x(static_cast<double>(at));
    out += line("grid", x, in.y(1), x, in.y(0));
    // Text at the end stays inside.
    out += text(x, in.height - 8, x > width - 3 * right ? "end" : "middle", decade_text(at));
  }
  return out;
}

std::string share_axis(const frame& in) {
  std::string out;
  for (const int percent : {0, 50, 100}) {
    const auto y = in.y(percent / 100.0);
    out += line("grid", left, y, width - right, y);
    out += text(left - 4, y + 4, "end", fmt::format("{} %", percent));
  }
  return out;
}

std::string curve(const frame& in, const latency_figures& of, std::size_t index) {
  std::string points =
      fmt::format("{:.1f},{:.1f}", in.x(static_cast<double>(of.summary.min)), in.y(0));
  std::uint64_t seen = 0;
  for (const auto& step : of.steps) {
    seen += step.count;
    points +=
        fmt::format(" {:.1f},{:.1f}", in.x(static_cast<double>(step.upper)),
                    in.y(static_cast<double>(seen) / static_cast<double>(of.summary.samples)));
  }
  return fmt::format("<polyline class=\"curve curve{}\" points=\"{}\"/>", index % curve_colours,
                     points);
}

std::string opening(double height, std::string_view label) {
  return fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">", width,
                     height, escaped(label));
}

/// The words stand above the bars, on the side where there is room.
std::string mark(const frame& in, const std::optional<std::uint64_t>& value, const char* name,
                 bool to_the_left) {
  if (!value) return {};
  const auto x = in.x(static_cast<double>(*value));
  if (x < left + 30) to_the_left = false;
  if (x > width - 40) to_the_left = true;
  return line("mark", x, in.y(1) - 4, x, in.y(0)) +
         text(to_the_left ? x - 3 : x + 3, in.y(1) - 1, to_the_left ? "end" : "start", name);
}

}  // namespace

time_scale scale_of(const std::vector<named_figures>& all) {
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  for (const auto& each : all) {
    if (each.figures->summary.samples == 0) continue;
    const auto& summary = each.figures->summary;
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
  // Room for at least one decade, so that there is something to read it by.
  out.high = std::max(out.high, out.low * 10);
  return out;
}

std::string distribution_svg(const std::vector<named_figures>& all) {
  const frame in{.scale = scale_of(all), .height = 190};
  auto out = opening(in.height, "share of samples by time, a curve for each CPU");
  out += share_axis(in) + time_axis(in);
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].figures->summary.samples > 0) out += curve(in, *all[i].figures, i);
  return out + "</svg>\n";
}

std::string histogram_svg(const named_figures& of, std::uint64_t low, std::uint64_t high) {
  const frame in{.scale = {.low = low, .high = high}, .height = 150};
  constexpr std::size_t bars = 78;
  constexpr double bar_width = (width - left - right) / bars;
  std::array<std::uint64_t, bars> counts{};
  for (const auto& step : of.figures->steps) {
    const auto at = (in.x(static_cast<double>(step.upper)) - left) / bar_width;
    counts[std::min(static_cast<std::size_t>(at), bars - 1)] += step.count;
  }
  const auto most = std::max<std::uint64_t>(1, *std::max_element(counts.begin(), counts.end()));
  auto out = opening(in.height, of.name + ": how many samples took how long");
  out += time_axis(in);
  for (std::size_t i = 0; i < bars; ++i) {
    if (counts[i] == 0) continue;
    // One sample of ten thousand is to be seen, too: it is what the tail is made of.
    const auto share = std::max(0.02, static_cast<double>(counts[i]) / static_cast<double>(most));
    const auto y = in.y(share);
    out += fmt::format(
        "<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>",
        left + static_cast<double>(i) * bar_width, y, bar_width - 0.4, in.y(0) - y);
  }
  out += mark(in, of.figures->summary.p50, "p50", true);
  out += mark(in, of.figures->summary.p99, "p99", false);
  return out + "</svg>\n";
}

}  // namespace xenpv::diag
