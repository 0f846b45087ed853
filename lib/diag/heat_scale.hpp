// From a figure to a colour: the scale that all pictures of a heat map share. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "xenpv/diag/heat_map.hpp"

namespace xenpv::diag {

struct colour {
  unsigned red = 0;
  unsigned green = 0;
  unsigned blue = 0;
};

/// Colours as "#rrggbb": of a cell, and of what is written into it. Grey without a value.
struct heat_paint {
  std::string fill = "#dddddd";
  std::string ink = "#000000";
};

class heat_scale {
 public:
  explicit heat_scale(const std::vector<heat_cell>& cells);

  /// 0 is the least of the cells, 1 the most, on a logarithmic scale that spans a factor of four at
  /// least; nullopt for a cell without a value above 0.
  [[nodiscard]] std::optional<double> place_of(const heat_cell& cell) const;
  /// `place` from 0 (quick) to 1 (slow); readable in print and for the colour-blind.
  [[nodiscard]] static colour colour_at(double place);
  [[nodiscard]] heat_paint paint_of(const heat_cell& cell) const;
  /// White letters are read more easily there.
  [[nodiscard]] static bool is_dark(double place) noexcept { return place > 0.55; }

 private:
  double low_ = 0;
  double high_ = 0;
};

/// Throws std::invalid_argument when the number of cells is wrong.
void demand_cells(const heat_map& map);

}  // namespace xenpv::diag
