// A matrix of figures as a picture: SVG that any browser shows, without scripts or outside files,
// or text for a terminal. Pure. Used for what is measured between pairs of CPUs.
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
  std::string title = {};
  std::string note = {};          ///< below the picture
  std::string row_title = {};     ///< "from CPU"
  std::string column_title = {};  ///< "to CPU"
  std::vector<std::string> rows = {};
  std::vector<std::string> columns = {};
  std::vector<heat_cell> cells = {};  ///< row by row: rows.size() * columns.size()
};

/// A map with a row for each CPU of `from` and a column for each of `to`, and no cells yet.
[[nodiscard]] heat_map cpu_pairs_map(const std::vector<unsigned>& from,
                                     const std::vector<unsigned>& to);

/// A whole SVG document. Throws std::invalid_argument when the number of cells is wrong, as
/// to_text.
[[nodiscard]] std::string to_svg(const heat_map& map);

/// The labels as a matrix, without title and note; `in_colour` for a terminal that knows 24-bit
/// colours (ISO 8613-6), which nothing but the eye needs.
[[nodiscard]] std::string to_text(const heat_map& map, bool in_colour);

}  // namespace xenpv::diag
