#include "probe/heat_scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <stdexcept>

namespace xenpv::probe {
namespace {

/// Based on matplotlib's viridis.
constexpr std::array<colour, 5> colour_steps = {
    {{253, 231, 37}, {94, 201, 98}, {33, 145, 140}, {59, 82, 139}, {68, 1, 84}}};

unsigned between(unsigned a, unsigned b, double part) {
  const auto start = static_cast<double>(a);
  return static_cast<unsigned>(std::lround(start + (static_cast<double>(b) - start) * part));
}

bool is_on_scale(const heat_cell& cell) {
  return !cell.is_baseline && cell.value && *cell.value > 0;
}

}  // namespace

std::string to_string(const colour& value) {
  return fmt::format("#{:02x}{:02x}{:02x}", value.red, value.green, value.blue);
}

heat_scale::heat_scale(const std::vector<heat_cell>& cells) {
  for (const auto& cell : cells) {
    if (!is_on_scale(cell)) continue;
    low_ = low_ == 0 ? *cell.value : std::min(low_, *cell.value);
    high_ = std::max(high_, *cell.value);
  }
}

std::optional<double> heat_scale::position_of(const heat_cell& cell) const {
  if (!is_on_scale(cell)) return std::nullopt;
  return std::log(*cell.value / low_) / log_span();
}

double heat_scale::log_span() const {
  // Nearly equal values should not span the whole scale.
  return std::max(std::log(high_ / low_), std::log(4.0));
}

double heat_scale::value_at(double position) const {
  return low_ * std::exp(position * log_span());
}

heat_paint heat_scale::paint_of(const heat_cell& cell) const {
  const auto position = position_of(cell);
  if (!position) return {};
  return {.fill = to_string(colour_at(*position)),
          .ink = is_dark(*position) ? "#ffffff" : "#000000"};
}

colour heat_scale::colour_at(double position) {
  const auto index = std::clamp(position, 0.0, 1.0) * static_cast<double>(colour_steps.size() - 1);
  const auto lower = std::min(static_cast<std::size_t>(index), colour_steps.size() - 2);
  const auto part = index - static_cast<double>(lower);
  const auto& a = colour_steps[lower];
  const auto& b = colour_steps[lower + 1];
  return {between(a.red, b.red, part), between(a.green, b.green, part),
          between(a.blue, b.blue, part)};
}

void require_cells(const heat_map& map) {
  if (map.cells.size() != map.rows.size() * map.columns.size())
    throw std::invalid_argument("a heat map needs rows * columns cells");
}

}  // namespace xenpv::probe
