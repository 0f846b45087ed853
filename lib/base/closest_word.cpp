#include "base/closest_word.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace xenpv {
namespace {

/// Longer words are not compared: the time grows with the product of the lengths.
constexpr std::size_t longest_word = 64;

/// The Damerau-Levenshtein distance, restricted to exchanges of neighbours (optimal alignment).
std::size_t distance(std::string_view a, std::string_view b) {
  const auto width = b.size() + 1;
  std::vector<std::size_t> before_last(width);
  std::vector<std::size_t> last(width);
  std::vector<std::size_t> row(width);
  for (std::size_t j = 0; j < width; ++j)
    last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j < width; ++j) {
      const std::size_t substitution = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::optional<std::string_view> closest_word(std::string_view word,
                                             std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > longest_word) return std::nullopt;
  std::optional<std::string_view> best;
  std::size_t fewest = 0;
  for (const auto candidate : candidates) {
    if (candidate.size() > longest_word) continue;
    const auto longer = std::max(word.size(), candidate.size());
    const auto errors = distance(word, candidate);
    if (errors > std::max<std::size_t>(1, longer / 3) || errors >= longer) continue;
    if (best && errors >= fewest) continue;
    best = candidate;
    fewest = errors;
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  const auto closest = closest_word(word, candidates);
  return closest ? fmt::format("; did you mean '{}'?", *closest) : std::string();
}

}  // namespace xenpv
