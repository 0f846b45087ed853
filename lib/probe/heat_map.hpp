// Renders a matrix of values as a heat map: as an SVG document without scripts or external files,
// or as text for a terminal. Pure. Used for measurements between pairs of CPUs.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace xenpv::probe {

struct heat_cell {
  std::optional<double> value = {};  ///< sets the colour, on a logarithmic scale; unset: grey
  std::string label = {};            ///< cell text
  std::string tip = {};              ///< tooltip
  bool doubtful = false;             ///< hatched: measured, but not verified
  bool is_baseline = false;          ///< grey, and outside the scale: measured without an IPI
};

struct heat_map {
  std::string title = {};
  std::string note = {};          ///< shown below the map
  std::string row_title = {};     ///< "from CPU"
  std::string column_title = {};  ///< "to CPU"
  std::vector<std::string> rows = {};
  std::vector<std::string> columns = {};
  std::vector<heat_cell> cells = {};  ///< row by row; rows.size() * columns.size() cells
};

/// Returns a map with one row per CPU in `from_cpus`, one column per CPU in `to_cpus`, and no cells
/// yet.
[[nodiscard]] heat_map cpu_pairs_map(const std::vector<unsigned>& from_cpus,
                                     const std::vector<unsigned>& to_cpus);

/// Returns a complete SVG document, with a legend of the colours, for light and dark backgrounds. A
/// map with many columns has small cells without labels, which are then only in the tooltips. Like
/// to_text(), throws std::invalid_argument if the number of cells is wrong.
[[nodiscard]] std::string to_svg(const heat_map& map);

/// Returns the labels as a text matrix without title and note. `in_colour` adds 24-bit colours (ISO
/// 8613-6), which carry no additional information.
[[nodiscard]] std::string to_text(const heat_map& map, bool in_colour);

}  // namespace xenpv::probe
