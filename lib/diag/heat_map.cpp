#include "xenpv/diag/heat_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "diag/markup.hpp"
#include "xenpv/base/utf8.hpp"

namespace xenpv::diag {
namespace {

constexpr unsigned margin = 64;
constexpr unsigned line_height = 20;

struct colour {
  double red;
  double green;
  double blue;
};
/// From quick to slow; readable in print and for the colour-blind (after matplotlib's viridis).
constexpr std::array<colour, 5> scale = {
    {{253, 231, 37}, {94, 201, 98}, {33, 145, 140}, {59, 82, 139}, {68, 1, 84}}};

/// `at` from 0 to 1.
colour colour_at(double at) {
  const auto place = std::clamp(at, 0.0, 1.0) * static_cast<double>(scale.size() - 1);
  const auto lower = std::min(static_cast<std::size_t>(place), scale.size() - 2);
  const auto part = place - static_cast<double>(lower);
  const auto& a = scale[lower];
  const auto& b = scale[lower + 1];
  return {a.red + (b.red - a.red) * part, a.green + (b.green - a.green) * part,
          a.blue + (b.blue - a.blue) * part};
}

std::string hex(const colour& of) {
  const auto byte = [](double value) { return static_cast<unsigned>(std::lround(value)); };
  return fmt::format("#{:02x}{:02x}{:02x}", byte(of.red), byte(of.green), byte(of.blue));
}

std::string text_at(double x, double y, const std::string& text, std::string_view more = {}) {
  return fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\"{}>{}</text>\n", x, y, more, escaped(text));
}

std::string cell_svg(const heat_cell& cell, double x, double y, double width, double height,
                     const heat_range& range) {
  const auto [fill, ink] = paint_of(cell, range);
  auto out = fmt::format(
      "<g><title>{}</title><rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" "
      "fill=\"{}\"/>",
      escaped(cell.tip), x, y, width, height, fill);
  if (cell.doubtful)
    out += fmt::format(
        "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" fill=\"url(#doubt)\"/>",
        x, y, width, height);
  out += text_at(x + width / 2, y + height / 2 + 4, cell.label,
                 fmt::format(" text-anchor=\"middle\" fill=\"{}\"", ink));
  return out + "</g>\n";
}

}  // namespace

heat_range range_of(const std::vector<heat_cell>& cells) {
  heat_range out;
  for (const auto& each : cells) {
    if (!each.value || *each.value <= 0) continue;
    out.low = out.low == 0 ? *each.value : std::min(out.low, *each.value);
    out.high = std::max(out.high, *each.value);
  }
  return out;
}

heat_paint paint_of(const heat_cell& cell, const heat_range& range) {
  if (!cell.value || *cell.value <= 0) return {};
  // Values that are nearly the same are not to look like the ends of the world.
  const auto span = std::max(std::log(range.high / range.low), std::log(4.0));
  const auto at = std::log(*cell.value / range.low) / span;
  return {.fill = hex(colour_at(at)), .ink = at > 0.55 ? "#ffffff" : "#000000"};
}

std::string to_svg(const heat_map& map) {
  if (map.cells.size() != map.rows.size() * map.columns.size())
    throw std::invalid_argument("a heat map needs a cell for each row and column");
  std::size_t longest = 4;
  for (const auto& cell : map.cells)
    longest = std::max(longest, utf8_characters(cell.label));
  const auto width = static_cast<double>(longest) * 8 + 8;
  const double height = 28;
  const auto right = margin + width * static_cast<double>(map.columns.size());
  const double top = margin + line_height;
  const auto bottom = top + height * static_cast<double>(map.rows.size());
  const auto range = range_of(map.cells);
  std::string out = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<defs><pattern id=\"doubt\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
      "patternTransform=\"rotate(45)\"><rect width=\"2\" height=\"6\" fill=\"#ffffff\" "
      "fill-opacity=\"0.6\"/></pattern></defs>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
      std::max(right + 16, 480.0), bottom + 3 * line_height);
  out += text_at(8, line_height, map.title, " font-size=\"15\" font-weight=\"bold\"");
  out += text_at(margin, top - line_height - 4, map.column_title);
  out += text_at(8, top - 4, map.row_title);
  for (std::size_t column = 0; column < map.columns.size(); ++column)
    out += text_at(margin + width * (static_cast<double>(column) + 0.5), top - 4,
                   map.columns[column], " text-anchor=\"middle\"");
  for (std::size_t row = 0; row < map.rows.size(); ++row) {
    const auto y = top + height * static_cast<double>(row);
    out += text_at(margin - 8, y + height / 2 + 4, map.rows[row], " text-anchor=\"end\"");
    for (std::size_t column = 0; column < map.columns.size(); ++column)
      out += cell_svg(map.cells[row * map.columns.size() + column],
                      margin + width * static_cast<double>(column), y, width, height, range);
  }
  out += text_at(8, bottom + line_height + 8, map.note);
  return out + "</svg>\n";
}

}  // namespace xenpv::diag
