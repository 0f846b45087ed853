// Maps heat map values to colours for all renderers. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "probe/heat_map.hpp"

namespace xenpv::probe {

struct colour {
  unsigned red = 0;
  unsigned green = 0;
  unsigned blue = 0;
};
/// Formats a colour as "#rrggbb".
[[nodiscard]] std::string to_string(const colour& value);

/// The colours of a cell (`fill`) and its label (`ink`), as "#rrggbb". `fill` is grey for a cell
/// without a value and for a baseline.
struct heat_paint {
  std::string fill = "#dddddd";
  std::string ink = "#000000";
};

class heat_scale {
 public:
  explicit heat_scale(const std::vector<heat_cell>& cells);

  /// Returns the position of the cell's value between the lowest (0) and the highest (1) value of
  /// all cells, on a logarithmic scale that spans at least a factor of four. Returns nullopt for a
  /// baseline and for a cell without a positive value.
  [[nodiscard]] std::optional<double> position_of(const heat_cell& cell) const;
  /// Returns the colour at `position`, from 0 (fast) to 1 (slow). The colours are legible in print
  /// and to colour-blind readers.
  [[nodiscard]] static colour colour_at(double position);
  [[nodiscard]] heat_paint paint_of(const heat_cell& cell) const;
  /// False if no cell has a position: there is nothing to explain in a legend.
  [[nodiscard]] bool has_values() const noexcept { return low_ > 0; }
  /// Returns the value whose position is `position`: the inverse of position_of(). Requires
  /// has_values().
  [[nodiscard]] double value_at(double position) const;
  /// True if white text is easier to read on the colour at `position`.
  [[nodiscard]] static bool is_dark(double position) noexcept { return position > 0.55; }

 private:
  [[nodiscard]] double log_span() const;

  double low_ = 0;
  double high_ = 0;
};

/// Throws std::invalid_argument if the number of cells is wrong.
void require_cells(const heat_map& map);

}  // namespace xenpv::probe
