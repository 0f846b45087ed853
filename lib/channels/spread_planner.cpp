#include "channels/spread_planner.hpp"

#include <algorithm>
#include <iterator>

namespace xenpv::channels {
namespace {

/// A plan must shift at least this fraction of a CPU's mean load. Single moves need not: with many
/// channels, each of them is small.
constexpr double worth_planning = 0.05;
/// Moves that improve the plan by less than this fraction of a CPU's mean load are omitted.
constexpr double worth_another_move = 0.01;

}  // namespace

spread_planner::spread_planner(const balance_input& input, const std::vector<unsigned>& cpus)
    : input_(input), loads_(input.cpus.size()), fixed_(input.cpus.size()) {
  for (const auto cpu : cpus)
    if (const auto it = std::ranges::find(input.cpus, cpu); it != input.cpus.end())
      cpus_.push_back(static_cast<std::size_t>(it - input.cpus.begin()));
  for (std::size_t i = 0; i < input.channels.size(); ++i)
    for (const auto cpu : cpus_)
      if (input.cpus[cpu] == input.channels[i].cpu) add(i, cpu);
  even_ = even_load();
}

void spread_planner::add(std::size_t channel, std::size_t cpu) {
  const candidate entry{.channel = channel, .cpu = cpu};
  const bool can_move = input_.channels[channel].can_move;
  for (const auto other : cpus_) {
    loads_[other] += load_on(entry, other);
    if (!can_move) fixed_[other] += load_on(entry, other);
  }
  if (can_move && input_.channels[channel].events > 0) candidates_.push_back(entry);
}

std::uint64_t spread_planner::load_on(const candidate& entry, std::size_t cpu) const {
  const auto& channel = input_.channels[entry.channel];
  if (entry.has_moved || channel.is_placed || channel.counts.empty())
    return entry.cpu == cpu ? channel.events : 0;
  return channel.counts[cpu];
}

/// Fills the CPUs with the load that can move, the least loaded ones first. A CPU whose fixed load
/// is above the result receives nothing.
double spread_planner::even_load() const {
  std::vector<std::uint64_t> fixed;
  double movable = 0;
  for (const auto cpu : cpus_) {
    fixed.push_back(fixed_[cpu]);
    movable += static_cast<double>(loads_[cpu] - fixed_[cpu]);
  }
  std::ranges::sort(fixed);
  double sum = movable;
  double level = 0;
  for (std::size_t i = 0; i < fixed.size(); ++i) {
    sum += static_cast<double>(fixed[i]);
    level = sum / static_cast<double>(i + 1);
    if (i + 1 == fixed.size() || level <= static_cast<double>(fixed[i + 1])) break;
  }
  return level;
}

double spread_planner::excess_of(std::size_t cpu) const {
  const auto even = std::max(even_, static_cast<double>(fixed_[cpu]));
  return std::max(0.0, static_cast<double>(loads_[cpu]) - even);
}

double spread_planner::total_excess() const {
  double out = 0;
  for (const auto cpu : cpus_)
    out += excess_of(cpu);
  return out;
}

/// Returns the channel whose move minimizes the higher load of the two CPUs, or nullptr if every
/// move would raise it.
spread_planner::candidate* spread_planner::best_to_move(std::size_t busy, std::size_t idlest) {
  candidate* best = nullptr;
  auto best_peak = loads_[busy];
  for (auto& entry : candidates_) {
    if (entry.cpu != busy) continue;
    const auto left = loads_[busy] - load_on(entry, busy);
    const auto filled =
        loads_[idlest] - load_on(entry, idlest) + input_.channels[entry.channel].events;
    if (const auto peak = std::max(left, filled); peak < best_peak) {
      best = &entry;
      best_peak = peak;
    }
  }
  return best;
}

void spread_planner::move(candidate& entry, std::size_t cpu) {
  for (const auto other : cpus_)
    loads_[other] -= load_on(entry, other);
  entry.cpu = cpu;
  entry.has_moved = true;
  loads_[cpu] += input_.channels[entry.channel].events;
}

bool spread_planner::take_step(std::vector<planned_step>& steps) {
  auto by_load = cpus_;
  std::ranges::stable_sort(by_load, std::ranges::greater(),
                           [this](std::size_t cpu) { return loads_[cpu]; });
  const auto idlest = by_load.back();
  // If the busiest CPU has no channel worth moving, such as a single large one, try the next
  // busiest.
  for (const auto busy : by_load) {
    if (excess_of(busy) == 0) continue;
    auto* best = best_to_move(busy, idlest);
    if (best == nullptr) continue;
    move(*best, idlest);
    steps.push_back({.channel = best->channel, .from = busy, .to = idlest});
    return true;
  }
  return false;
}

std::vector<planned_step> spread_planner::plan() {
  std::vector<planned_step> steps;
  std::vector<double> excess = {total_excess()};
  double mean = 0;
  for (const auto cpu : cpus_)
    mean += static_cast<double>(loads_[cpu]) / static_cast<double>(cpus_.size());
  // Each step lowers a peak load; the bound only guards against an endless loop.
  for (std::size_t i = 0; i < 4 * candidates_.size() && take_step(steps); ++i)
    excess.push_back(total_excess());
  const auto least = *std::ranges::min_element(excess);
  if (excess.front() - least <= worth_planning * mean) return {};
  const auto enough = std::ranges::find_if(
      excess, [&](double value) { return value <= least + worth_another_move * mean; });
  steps.resize(static_cast<std::size_t>(enough - excess.begin()));
  return steps;
}

}  // namespace xenpv::channels
