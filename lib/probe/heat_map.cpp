#include "probe/heat_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/parse.hpp"
#include "base/utf8.hpp"
#include "probe/heat_scale.hpp"
#include "probe/markup.hpp"

namespace xenpv::probe {
namespace {

constexpr double margin = 64;
constexpr double edge = 8;
constexpr double line_height = 20;
constexpr double legend_width = 240;

/// Viewers without prefers-color-scheme, and those that ignore style sheets, use the attributes of
/// the elements: black on white. The colours of the cells are the same on both backgrounds.
constexpr std::string_view style =
    "<style>text{fill:#1b1f24}"
    "@media (prefers-color-scheme:dark){.page{fill:#14171b}text{fill:#e6e9ed}.none{fill:#3a424d}}"
    "text.light{fill:#ffffff}text.dark{fill:#000000}</style>\n";

/// Conservative: no common font is wider.
double text_width(std::string_view text, double per_character) {
  return static_cast<double>(utf8_characters(text)) * per_character;
}
constexpr double title_character = 10.5;  ///< bold, 15 pixels
constexpr double note_character = 7.5;    ///< 12 pixels

/// The sizes and positions of a map's parts, in pixels.
struct heat_layout {
  bool has_labels = true;
  double cell_width = 0;
  double cell_height = 28;
  double title_baseline = line_height;
  double top = 0;     ///< of the cells
  double bottom = 0;  ///< of the cells
  double width = 0;
  double height = 0;
};

heat_layout layout_of(const heat_map& map, const heat_scale& scale) {
  constexpr std::size_t most_columns_with_labels = 16;
  heat_layout out;
  std::size_t longest = 4;
  for (const auto& cell : map.cells)
    longest = std::max(longest, utf8_characters(cell.label));
  out.has_labels = map.columns.size() <= most_columns_with_labels;
  out.cell_width = out.has_labels ? static_cast<double>(longest) * 8 + 8 : 18;
  if (!out.has_labels) out.cell_height = 18;
  out.top = 3.5 * line_height;
  out.bottom = out.top + out.cell_height * static_cast<double>(map.rows.size());
  const auto right = margin + out.cell_width * static_cast<double>(map.columns.size());
  const auto text =
      edge + std::max(text_width(map.title, title_character), text_width(map.note, note_character));
  const auto legend = scale.has_values() ? margin + legend_width + 40 : 0;
  out.width = std::ceil(std::max({right, text, legend}) + 2 * edge);
  out.height = out.bottom + (scale.has_values() ? 4.5 : 2.0) * line_height;
  return out;
}

std::string text_at(double x, double y, const std::string& text, std::string_view attributes = {}) {
  return fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\"{}>{}</text>\n", x, y, attributes,
                     escaped(text));
}

std::string rectangle(double x, double y, double width, double height, std::string_view fill,
                      std::string_view attributes = {}) {
  return fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"{}/>", x, y,
      width, height, fill, attributes);
}

std::string cell_svg(const heat_cell& cell, double x, double y, const heat_layout& layout,
                     const heat_scale& scale) {
  const auto [fill, ink] = scale.paint_of(cell);
  const bool is_coloured = scale.position_of(cell).has_value();
  auto out = fmt::format(
      "<g><title>{}</title>{}",
      escaped(layout.has_labels || cell.tip.empty() ? cell.tip
                                                    : fmt::format("{} ({})", cell.label, cell.tip)),
      rectangle(x, y, layout.cell_width, layout.cell_height, fill,
                is_coloured ? "" : " class=\"none\""));
  if (cell.doubtful) out += rectangle(x, y, layout.cell_width, layout.cell_height, "url(#doubt)");
  if (layout.has_labels)
    out += text_at(x + layout.cell_width / 2, y + layout.cell_height / 2 + 4, cell.label,
                   fmt::format(" text-anchor=\"middle\" fill=\"{}\"{}", ink,
                               !is_coloured       ? ""
                               : ink == "#ffffff" ? " class=\"light\""
                                                  : " class=\"dark\""));
  return out + "</g>\n";
}

std::string legend_svg(const heat_layout& layout, const heat_scale& scale) {
  if (!scale.has_values()) return {};
  const auto top = layout.bottom + 2.4 * line_height;
  auto out = rectangle(margin, top, legend_width, 12, "url(#scale)");
  for (const auto position : {0.0, 0.5, 1.0})
    out += text_at(
        margin + position * legend_width, top + 28,
        format_nanoseconds(static_cast<std::uint64_t>(std::llround(scale.value_at(position)))),
        " text-anchor=\"middle\"");
  return out + "\n";
}

std::string definitions() {
  std::string stops;
  for (const auto position : {0.0, 0.25, 0.5, 0.75, 1.0})
    stops += fmt::format("<stop offset=\"{}\" stop-color=\"{}\"/>", position,
                         to_string(heat_scale::colour_at(position)));
  return fmt::format(
      "<defs><pattern id=\"doubt\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
      "patternTransform=\"rotate(45)\"><rect width=\"2\" height=\"6\" fill=\"#ffffff\" "
      "fill-opacity=\"0.45\"/></pattern><linearGradient id=\"scale\">{}</linearGradient></defs>\n",
      stops);
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
  const heat_scale scale(map.cells);
  const auto layout = layout_of(map, scale);
  auto out = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"{2}\">\n",
      layout.width, layout.height, layout.has_labels ? 12 : 11);
  out += style;
  out += definitions();
  out += "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\" class=\"page\"/>\n";
  out += text_at(edge, layout.title_baseline, map.title, " font-size=\"15\" font-weight=\"bold\"");
  out += text_at(margin, layout.top - line_height - 4, map.column_title);
  out += text_at(edge, layout.top - 4, map.row_title);
  for (std::size_t column = 0; column < map.columns.size(); ++column)
    out += text_at(margin + layout.cell_width * (static_cast<double>(column) + 0.5), layout.top - 4,
                   map.columns[column], " text-anchor=\"middle\"");
  for (std::size_t row = 0; row < map.rows.size(); ++row) {
    const auto y = layout.top + layout.cell_height * static_cast<double>(row);
    out += text_at(margin - edge, y + layout.cell_height / 2 + 4, map.rows[row],
                   " text-anchor=\"end\"");
    for (std::size_t column = 0; column < map.columns.size(); ++column)
      out += cell_svg(map.cells[row * map.columns.size() + column],
                      margin + layout.cell_width * static_cast<double>(column), y, layout, scale);
  }
  out += text_at(edge, layout.bottom + line_height + 8, map.note);
  out += legend_svg(layout, scale);
  return out + "</svg>\n";
}

}  // namespace xenpv::probe
