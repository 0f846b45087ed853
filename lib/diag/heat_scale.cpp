#include "diag/heat_scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <stdexcept>

namespace xenpv::diag {
namespace {

/// After matplotlib's viridis.
constexpr std::array<colour, 5> scale = {
    {{253, 231, 37}, {94, 201, 98}, {33, 145, 140}, {59, 82, 139}, {68, 1, 84}}};

unsigned between(unsigned a, unsigned b, double part) {
  const auto from = static_cast<double>(a);
  return static_cast<unsigned>(std::lround(from + (static_cast<double>(b) - from) * part));
}

}  // namespace

heat_scale::heat_scale(const std::vector<heat_cell>& cells) {
  for (const auto& each : cells) {
    if (!each.value || *each.value <= 0) continue;
    low_ = low_ == 0 ? *each.value : std::min(low_, *each.value);
    high_ = std::max(high_, *each.value);
  }
}

std::optional<double> heat_scale::place_of(const heat_cell& cell) const {
  if (!cell.value || *cell.value <= 0) return std::nullopt;
  // Values that are nearly the same are not to look like the ends of the world.
  const auto span = std::max(std::log(high_ / low_), std::log(4.0));
  return std::log(*cell.value / low_) / span;
}

heat_paint heat_scale::paint_of(const heat_cell& cell) const {
  const auto place = place_of(cell);
  if (!place) return {};
  const auto fill = colour_at(*place);
  return {.fill = fmt::format("#{:02x}{:02x}{:02x}", fill.red, fill.green, fill.blue),
          .ink = is_dark(*place) ? "#ffffff" : "#000000"};
}

colour heat_scale::colour_at(double place) {
  const auto at = std::clamp(place, 0.0, 1.0) * static_cast<double>(scale.size() - 1);
  const auto lower = std::min(static_cast<std::size_t>(at), scale.size() - 2);
  const auto part = at - static_cast<double>(lower);
  const auto& a = scale[lower];
  const auto& b = scale[lower + 1];
  return {between(a.red, b.red, part), between(a.green, b.green, part),
          between(a.blue, b.blue, part)};
}

void demand_cells(const heat_map& map) {
  if (map.cells.size() != map.rows.size() * map.columns.size())
    throw std::invalid_argument("a heat map needs a cell for each row and column");
}

}  // namespace xenpv::diag
