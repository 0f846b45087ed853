// How the programs print times: in words, as JSON, and as bars. Measures nothing.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "xenpv/base/histogram.hpp"
#include "xenpv/cli/json.hpp"

namespace xenpv::cli {

/// "15.5 us"; empty for a time that is not known, which a table prints as "-".
[[nodiscard]] std::string time_text(std::optional<std::uint64_t> nanoseconds);

/// Pairs of the largest value a step holds and how many it has, of the steps that are not empty.
template <unsigned Steps>
[[nodiscard]] json histogram_json(const basic_histogram<Steps>& of) {
  json out = json::array();
  for (std::size_t bucket = 0; bucket < of.buckets; ++bucket)
    if (of.count_in(bucket) > 0)
      out.push_back({std::min(of.upper_bound(bucket), of.max()), of.count_in(bucket)});
  return out;
}

/// Samples, min, mean, percentiles (null where there are too few samples for one:
/// base/latency_summary.hpp), max and the histogram; null without samples.
[[nodiscard]] json latency_json(const fine_histogram& of);

/// One line of bars: how many samples are below `limit` and not below the line before.
struct histogram_line {
  std::uint64_t limit = 0;
  std::uint64_t count = 0;
};
/// From the first line with samples to the last, `lines` (a power of two, at most Steps) for each
/// power of two.
template <unsigned Steps>
[[nodiscard]] std::vector<histogram_line> histogram_lines(const basic_histogram<Steps>& of,
                                                          unsigned lines) {
  std::vector<histogram_line> out;
  const std::size_t width = Steps / lines;
  for (std::size_t bucket = 0; bucket < of.buckets; bucket += width) {
    histogram_line line{of.upper_bound(bucket + width - 1) + 1, 0};
    for (std::size_t i = bucket; i < bucket + width; ++i)
      line.count += of.count_in(i);
    if (line.count > 0 || !out.empty()) out.push_back(line);
  }
  while (!out.empty() && out.back().count == 0)
    out.pop_back();
  return out;
}
/// "< 16.4 us   1234 ######", a line each; those without samples are left out.
void print_lines(std::ostream& out, const std::vector<histogram_line>& lines);

}  // namespace xenpv::cli
