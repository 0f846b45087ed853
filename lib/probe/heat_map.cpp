#include "probe/heat_map.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.hpp"
#include "probe/heat_scale.hpp"
#include "probe/markup.hpp"

namespace xenpv::probe {
namespace {

constexpr unsigned margin = 64;
constexpr unsigned line_height = 20;

std::string text_at(double x, double y, const std::string& text, std::string_view attributes = {}) {
  return fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\"{}>{}</text>\n", x, y, attributes,
                     escaped(text));
}

std::string cell_svg(const heat_cell& cell, double x, double y, double width, double height,
                     const heat_scale& scale) {
  const auto [fill, ink] = scale.paint_of(cell);
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

heat_map cpu_pairs_map(const std::vector<unsigned>& from_cpus,
                       const std::vector<unsigned>& to_cpus) {
  heat_map map{.row_title = "from CPU", .column_title = "to CPU"};
  for (const auto cpu : from_cpus)
    map.rows.push_back(fmt::format("{}", cpu));
  for (const auto cpu : to_cpus)
    map.columns.push_back(fmt::format("{}", cpu));
  return map;
}

std::string to_svg(const heat_map& map) {
  require_cells(map);
  std::size_t longest = 4;
  for (const auto& cell : map.cells)
    longest = std::max(longest, utf8_characters(cell.label));
  const auto width = static_cast<double>(longest) * 8 + 8;
  const double height = 28;
  const auto right = margin + width * static_cast<double>(map.columns.size());
  const double top = margin + line_height;
  const auto bottom = top + height * static_cast<double>(map.rows.size());
  const heat_scale scale(map.cells);
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
                      margin + width * static_cast<double>(column), y, width, height, scale);
  }
  out += text_at(8, bottom + line_height + 8, map.note);
  return out + "</svg>\n";
}

}  // namespace xenpv::probe
