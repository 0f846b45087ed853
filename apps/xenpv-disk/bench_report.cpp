#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "bench.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/cli/latency.hpp"
#include "xenpv/cli/table.hpp"

namespace xenpv::disk_app {
namespace {

double bytes_per_second(const bench_row& row) {
  return row.result.per_second() * row.load.how.block;
}

std::string time_at(const bench_row& row, double share) {
  return format_nanoseconds(row.result.latency_ns.percentile(share));
}

/// "1.83x" of what the kernel's driver did with the same load; empty without that.
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

named_load name_load(const blk::workload& how) {
  const auto size =
      how.block % 1024 == 0 ? fmt::format("{}k", how.block / 1024) : fmt::format("{}", how.block);
  return {
      fmt::format("{}{} {} depth {}", how.random ? "rand" : "", to_string(how.op), size, how.depth),
      how};
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
                    {"BESIDE-KERNEL", cli::align::right}});
  for (const auto& row : rows)
    table.add_row({row.load.name, std::string(to_string(row.engine)),
                   fmt::format("{:.0f}", row.result.per_second()),
                   fmt::format("{:.1f}", bytes_per_second(row) / 1e6), time_at(row, 0.5),
                   time_at(row, 0.99), time_at(row, 1), fmt::format("{}", row.result.errors),
                   beside_kernel(rows, row)});
  table.print(out);
}

void print_bench_histogram(std::ostream& out, const bench_row& row) {
  out << fmt::format("\n{}, {}: {} answers\n", row.load.name, to_string(row.engine),
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
                {"operation", to_string(row.load.how.op)},
                {"random", row.load.how.random},
                {"block", row.load.how.block},
                {"depth", row.load.how.depth},
                {"requests", row.result.requests},
                {"errors", row.result.errors},
                {"seconds", std::chrono::duration<double>(row.result.time).count()},
                {"iops", row.result.per_second()},
                {"bytes_per_second", bytes_per_second(row)}};
  out["latency_ns"] = {{"mean", times.mean()},
                       {"p50", times.percentile(0.5)},
                       {"p99", times.percentile(0.99)},
                       {"p999", times.percentile(0.999)},
                       {"max", times.max()},
                       {"histogram", std::move(histogram_json)}};
  return out;
}

}  // namespace xenpv::disk_app
