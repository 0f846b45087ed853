#include "cli/latency.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ostream>

#include "base/latency_summary.hpp"
#include "base/parse.hpp"

namespace xenpv::cli {
namespace {

constexpr std::uint64_t bar_length = 50;

}  // namespace

std::string time_text(std::optional<std::uint64_t> nanoseconds) {
  if (!nanoseconds) return {};
  return format_nanoseconds(*nanoseconds);
}

json latency_json(const fine_histogram& times) {
  if (times.count() == 0) return nullptr;
  const auto summary = summary_of(times);
  return {{"samples", summary.samples},
          {"min", summary.min},
          {"mean", static_cast<std::uint64_t>(summary.mean)},
          {"p50", or_null(summary.p50)},
          {"p90", or_null(summary.p90)},
          {"p99", or_null(summary.p99)},
          {"p99.9", or_null(summary.p99_9)},
          {"max", summary.max},
          {"histogram", histogram_json(times)}};
}

void print_lines(std::ostream& out, const std::vector<histogram_line>& lines) {
  std::uint64_t most = 1;
  for (const auto& line : lines)
    most = std::max(most, line.count);
  for (const auto& line : lines) {
    if (line.count == 0) continue;
    const auto length = std::max<std::uint64_t>(line.count * bar_length / most, 1);
    out << fmt::format("{:>10} {:>10} {}\n", "< " + time_text(line.limit), line.count,
                       std::string(length, '#'));
  }
}

}  // namespace xenpv::cli
