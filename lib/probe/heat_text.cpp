// Renders heat maps as text for terminals.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/utf8.hpp"
#include "probe/heat_scale.hpp"

namespace xenpv::probe {
namespace {

/// Right-aligns `text` in `width` columns.
std::string padded(const std::string& text, std::size_t width) {
  const auto length = utf8_characters(text);
  return std::string(width - std::min(width, length), ' ') + text;
}

std::string cell_text(const heat_cell& cell, const heat_scale& scale, std::size_t width,
                      bool in_colour) {
  auto text = fmt::format(" {} ", padded(cell.label, width));
  const auto position = scale.position_of(cell);
  if (!in_colour || !position) return text;
  const auto fill = heat_scale::colour_at(*position);
  const auto* ink = heat_scale::is_dark(*position) ? "255;255;255" : "0;0;0";
  return fmt::format("\x1b[38;2;{};48;2;{};{};{}m{}\x1b[0m", ink, fill.red, fill.green, fill.blue,
                     text);
}

std::string without_end(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

}  // namespace

std::string to_text(const heat_map& map, bool in_colour) {
  require_cells(map);
  const heat_scale scale(map.cells);
  std::size_t width = 0;
  for (const auto& cell : map.cells)
    width = std::max(width, utf8_characters(cell.label));
  for (const auto& column : map.columns)
    width = std::max(width, utf8_characters(column));
  std::size_t head = utf8_characters(map.row_title);
  for (const auto& row : map.rows)
    head = std::max(head, utf8_characters(row));
  std::string out = without_end(padded("", head) + "  " + map.column_title);
  auto line = padded(map.row_title, head);
  for (const auto& column : map.columns)
    line += fmt::format(" {} ", padded(column, width));
  out += without_end(line);
  for (std::size_t row = 0; row < map.rows.size(); ++row) {
    line = padded(map.rows[row], head);
    for (std::size_t column = 0; column < map.columns.size(); ++column)
      line += cell_text(map.cells[row * map.columns.size() + column], scale, width, in_colour);
    out += without_end(line);
  }
  return out;
}

}  // namespace xenpv::probe
