// Maps the values of a heat map to colours, for all its renderers. Pure.
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

/// The colours of a cell and of its label, as "#rrggbb". Grey if the cell has no value.
struct heat_paint {
  std::string fill = "#dddddd";
  std::string ink = "#000000";
};

class heat_scale {
 public:
  explicit heat_scale(const std::vector<heat_cell>& cells);

  /// 0 for the lowest value of the cells, 1 for the highest, on a logarithmic scale that spans at
  /// least a factor of four; nullopt for a cell without a value above 0.
  [[nodiscard]] std::optional<double> position_of(const heat_cell& cell) const;
  /// The colour at `position`, from 0 (fast) to 1 (slow); readable in print and by colour-blind
  /// people.
  [[nodiscard]] static colour colour_at(double position);
  [[nodiscard]] heat_paint paint_of(const heat_cell& cell) const;
  /// True if white text is easier to read at this position.
  [[nodiscard]] static bool is_dark(double position) noexcept { return position > 0.55; }

 private:
  double low_ = 0;
  double high_ = 0;
};

/// Throws std::invalid_argument if the number of cells is wrong.
void require_cells(const heat_map& map);

}  // namespace xenpv::probe
