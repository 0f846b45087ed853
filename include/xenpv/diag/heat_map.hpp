// A matrix of figures as a picture: SVG that any browser shows, without scripts or outside files.
// Pure. Used for what is measured between pairs of CPUs.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace xenpv::diag {

struct heat_cell {
  std::optional<double> value = {};  ///< colours the cell, on a logarithmic scale; unset: grey
  std::string label = {};            ///< written into it
  std::string tip = {};              ///< shown when the pointer rests on it
  bool doubtful = false;             ///< hatched: measured, but not verified
};

struct heat_map {
  std::string title;
  std::string note;          ///< below the picture
  std::string row_title;     ///< "from CPU"
  std::string column_title;  ///< "to CPU"
  std::vector<std::string> rows;
  std::vector<std::string> columns;
  std::vector<heat_cell> cells;  ///< row by row: rows.size() * columns.size()
};

/// The smallest and the largest value above 0; 0 without any.
struct heat_range {
  double low = 0;
  double high = 0;
};
[[nodiscard]] heat_range range_of(const std::vector<heat_cell>& cells);

/// Colours as "#rrggbb": of a cell, and of what is written into it. Grey without a value.
struct heat_paint {
  std::string fill = "#dddddd";
  std::string ink = "#000000";
};
[[nodiscard]] heat_paint paint_of(const heat_cell& cell, const heat_range& range);

/// A whole SVG document. Throws std::invalid_argument when the number of cells is wrong.
[[nodiscard]] std::string to_svg(const heat_map& map);

}  // namespace xenpv::diag
