// The results of `xenpv-disk bench` and their output.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "blk/workload.hpp"
#include "cli/json.hpp"

namespace xenpv::disk_app {

enum class bench_engine { xenpv, kernel };
[[nodiscard]] std::string_view to_string(bench_engine engine) noexcept;

struct named_load {
  std::string name;  ///< "randread 4k depth 32"
  blk::workload workload;
};
[[nodiscard]] named_load name_load(const blk::workload& workload);

struct bench_row {
  named_load load;
  bench_engine engine{};
  blk::workload_result result;
};

/// Prints one line per row, with a comparison to the kernel driver for the same load, if measured.
void print_bench_table(std::ostream& out, const std::vector<bench_row>& rows);
/// Prints the latency distribution, with one bar per power of two.
void print_bench_histogram(std::ostream& out, const bench_row& row);
[[nodiscard]] cli::json to_json(const bench_row& row);

}  // namespace xenpv::disk_app
