// What xenpv-ipi prints: matrices, tables, JSON, a picture, and what the reader has to know.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "xenpv/cli/json.hpp"
#include "xenpv/diag/clock_cost.hpp"
#include "xenpv/diag/ipi_probe.hpp"
#include "xenpv/xen/cpuid.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::ipi_app {

/// All pairs of one method, row by row.
struct ipi_matrix {
  diag::ipi_method method = diag::ipi_method::membarrier;
  std::vector<diag::ipi_pair> pairs = {};
};

struct ipi_report {
  std::vector<unsigned> from = {};
  std::vector<unsigned> to = {};
  diag::ipi_probe_options how = {};
  std::vector<ipi_matrix> matrices = {};
  std::vector<diag::ipi_broadcast> broadcasts = {};
  xen::guest_type guest = xen::guest_type::none;
  std::optional<xen::cpuid_facts> cpuid_before = {};
  std::optional<xen::cpuid_facts> cpuid_after = {};
  diag::clock_cost clock = {};
  std::uint64_t steal_ticks = 0;  ///< of 10 ms, from all CPUs meanwhile
  bool ended_early = false;
};

/// Through what the IPIs of all pairs went.
[[nodiscard]] diag::ipi_type_facts type_of(const ipi_report& report);
/// No pair and no broadcast failed or was refuted.
[[nodiscard]] bool is_good(const ipi_report& report);

void print_tables(std::ostream& out, const ipi_report& report, bool in_colour);
[[nodiscard]] cli::json to_json(const ipi_report& report);
/// Of one method.
[[nodiscard]] std::string to_svg(const ipi_report& report, const ipi_matrix& matrix);
/// To standard error.
void tell_doubts(const ipi_report& report);

}  // namespace xenpv::ipi_app
