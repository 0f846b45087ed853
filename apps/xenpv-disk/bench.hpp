// What `xenpv-disk bench` measured, and how it is shown.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "xenpv/blk/workload.hpp"
#include "xenpv/cli/json.hpp"

namespace xenpv::disk_app {

enum class bench_engine { xenpv, kernel };
[[nodiscard]] std::string_view to_string(bench_engine engine) noexcept;

struct named_load {
  std::string name;  ///< "randread 4k depth 32"
  blk::workload how;
};
[[nodiscard]] named_load name_load(const blk::workload& how);

struct bench_row {
  named_load load;
  bench_engine engine{};
  blk::workload_result result;
};

/// A line for each row, beside the kernel's where there is one for the same load.
void print_bench_table(std::ostream& out, const std::vector<bench_row>& rows);
/// How the answers' times are spread, a bar for each power of two.
void print_bench_histogram(std::ostream& out, const bench_row& row);
[[nodiscard]] cli::json to_json(const bench_row& row);

}  // namespace xenpv::disk_app
