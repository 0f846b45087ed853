// Formats times as text, as JSON and as bar charts.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "cli/json.hpp"
#include "xenpv/base/histogram.hpp"

namespace xenpv::cli {

/// "15.5 us"; empty for an unknown time, which a table prints as "-".
[[nodiscard]] std::string time_text(std::optional<std::uint64_t> nanoseconds);

/// Returns a pair for each bucket that is not empty: the bucket's largest value and its sample
/// count.
template <unsigned Steps>
[[nodiscard]] json histogram_json(const basic_histogram<Steps>& times) {
  json out = json::array();
  for (std::size_t bucket = 0; bucket < times.buckets; ++bucket)
    if (times.count_in(bucket) > 0)
      out.push_back({std::min(times.upper_bound(bucket), times.max()), times.count_in(bucket)});
  return out;
}

/// Returns the sample count, min, mean, percentiles (null with too few samples:
/// base/latency_summary.hpp), max and the histogram. Returns null if there are no samples.
[[nodiscard]] json latency_json(const fine_histogram& times);

/// One line of a bar chart. Counts the samples below `limit` that earlier lines do not include.
struct histogram_line {
  std::uint64_t limit = 0;
  std::uint64_t count = 0;
};
/// Returns the lines from the first to the last with samples. Each power of two is divided into
/// `lines` lines (a power of two, at most Steps).
template <unsigned Steps>
[[nodiscard]] std::vector<histogram_line> histogram_lines(const basic_histogram<Steps>& times,
                                                          unsigned lines) {
  std::vector<histogram_line> out;
  const std::size_t width = Steps / lines;
  for (std::size_t bucket = 0; bucket < times.buckets; bucket += width) {
    histogram_line line{times.upper_bound(bucket + width - 1) + 1, 0};
    for (std::size_t i = bucket; i < bucket + width; ++i)
      line.count += times.count_in(i);
    if (line.count > 0 || !out.empty()) out.push_back(line);
  }
  while (!out.empty() && out.back().count == 0)
    out.pop_back();
  return out;
}
/// Prints "< 16.4 us   1234 ######" for each line that has samples.
void print_lines(std::ostream& out, const std::vector<histogram_line>& lines);

}  // namespace xenpv::cli
