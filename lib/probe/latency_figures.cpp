#include "probe/latency_figures.hpp"

#include <algorithm>
#include <cmath>

namespace xenpv::probe {
namespace {

constexpr double sigmas_of_99_percent = 2.576;

/// Returns the value of the sample with this rank; the smallest sample has rank 1.
std::uint64_t value_at(const latency_figures& figures, double rank) {
  const auto last = static_cast<double>(figures.summary.samples);
  const auto target_rank = static_cast<std::uint64_t>(std::clamp(std::ceil(rank), 1.0, last));
  std::uint64_t seen = 0;
  for (const auto& step : figures.steps) {
    seen += step.count;
    if (seen >= target_rank) return step.upper;
  }
  return figures.summary.max;
}

void widen(percentile_range& range, const std::vector<latency_round>& rounds,
           std::optional<std::uint64_t> latency_round::*percentile) {
  for (const auto& round : rounds) {
    const auto& value = round.*percentile;
    if (!value) continue;
    range.low = std::min(range.low, *value);
    range.high = std::max(range.high, *value);
  }
}

}  // namespace

latency_figures figures_of(const std::vector<fine_histogram>& rounds) {
  latency_figures out;
  fine_histogram all;
  for (const auto& round : rounds) {
    if (round.count() == 0) continue;
    all.add(round);
    const auto summary = summary_of(round);
    out.rounds.push_back({.samples = summary.samples, .p50 = summary.p50, .p99 = summary.p99});
  }
  out.summary = summary_of(all);
  for (std::size_t bucket = 0; bucket < fine_histogram::buckets; ++bucket)
    if (const auto count = all.count_in(bucket); count > 0)
      out.steps.push_back(
          {.upper = std::min(fine_histogram::upper_bound(bucket), all.max()), .count = count});
  return out;
}

std::optional<percentile_range> range_of(const latency_figures& figures, double share) {
  const auto samples = figures.summary.samples;
  if (!has_percentile(samples, share) || figures.steps.empty()) return std::nullopt;
  const auto count = static_cast<double>(samples);
  const auto spread = sigmas_of_99_percent * std::sqrt(count * share * (1 - share));
  percentile_range out{.value = value_at(figures, count * share),
                       .low = value_at(figures, count * share - spread),
                       .high = value_at(figures, count * share + spread)};
  if (share == 0.5) widen(out, figures.rounds, &latency_round::p50);
  if (share == 0.99) widen(out, figures.rounds, &latency_round::p99);
  return out;
}

}  // namespace xenpv::probe
