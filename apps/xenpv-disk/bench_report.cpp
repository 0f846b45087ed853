#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "base/parse.hpp"
#include "bench.hpp"
#include "cli/latency.hpp"
#include "cli/table.hpp"

namespace xenpv::disk_app {
namespace {

double bytes_per_second(const bench_row& row) {
  return row.result.per_second() * row.load.workload.block;
}

std::string latency_at(const bench_row& row, double share) {
  return format_nanoseconds(row.result.latency_ns.percentile(share));
}

/// Returns the speed relative to the kernel driver for the same load, such as "1.83x", or an empty
/// string if the kernel driver was not measured.
std::string beside_kernel(const std::vector<bench_row>& rows, const bench_row& row) {
  if (row.engine == bench_engine::kernel) return {};
  for (const auto& other : rows)
    if (other.engine == bench_engine::kernel && other.load.name == row.load.name &&
        other.result.per_second() > 0)
      return fmt::format("{:.2f}x", row.result.per_second() / other.result.per_second());
  return {};
}

}  // namespace

std::string_view to_string(bench_engine engine) noexcept {
  return engine == bench_engine::kernel ? "kernel" : "xenpv";
}

named_load name_load(const blk::workload& workload) {
  const auto size = workload.block % 1024 == 0 ? fmt::format("{}k", workload.block / 1024)
                                               : fmt::format("{}", workload.block);
  return {fmt::format("{}{} {} depth {}", workload.random ? "rand" : "", to_string(workload.op),
                      size, workload.depth),
          workload};
}

void print_bench_table(std::ostream& out, const std::vector<bench_row>& rows) {
  cli::table table({{"LOAD"},
                    {"ENGINE"},
                    {"IOPS", cli::align::right},
                    {"MB/S", cli::align::right},
                    {"P50", cli::align::right},
                    {"P99", cli::align::right},
                    {"MAX", cli::align::right},
                    {"ERRORS", cli::align::right},
                    {"VS-KERNEL", cli::align::right}});
  for (const auto& row : rows)
    table.add_row({row.load.name, std::string(to_string(row.engine)),
                   fmt::format("{:.0f}", row.result.per_second()),
                   fmt::format("{:.1f}", bytes_per_second(row) / 1e6), latency_at(row, 0.5),
                   latency_at(row, 0.99), latency_at(row, 1), fmt::format("{}", row.result.errors),
                   beside_kernel(rows, row)});
  table.print(out);
}

void print_bench_histogram(std::ostream& out, const bench_row& row) {
  out << fmt::format("\n{}, {}: {} replies\n", row.load.name, to_string(row.engine),
                     row.result.requests);
  cli::print_lines(out, cli::histogram_lines(row.result.latency_ns, 1));
}

cli::json to_json(const bench_row& row) {
  const auto& times = row.result.latency_ns;
  cli::json histogram_json = cli::json::array();
  for (std::size_t i = 0; i < histogram::buckets; ++i)
    if (const auto count = times.count_in(i); count > 0)
      histogram_json.push_back({{"up_to_ns", histogram::upper_bound(i)}, {"count", count}});
  cli::json out{{"load", row.load.name},
                {"engine", to_string(row.engine)},
                {"operation", to_string(row.load.workload.op)},
                {"random", row.load.workload.random},
                {"block", row.load.workload.block},
                {"depth", row.load.workload.depth},
                {"requests", row.result.requests},
                {"errors", row.result.errors},
                {"seconds", std::chrono::duration<double>(row.result.time).count()},
                {"iops", row.result.per_second()},
                {"bytes_per_second", bytes_per_second(row)}};
  out["latency_ns"] = {{"mean", times.mean()},
                       {"p50", times.percentile(0.5)},
                       {"p99", times.percentile(0.99)},
                       {"p99.9", times.percentile(0.999)},
                       {"max", times.max()},
                       {"histogram", std::move(histogram_json)}};
  return out;
}

}  // namespace xenpv::disk_app
