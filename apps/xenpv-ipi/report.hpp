// The output of xenpv-ipi: matrices, tables, JSON, a heat map, and warnings.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "cli/json.hpp"
#include "probe/clock_cost.hpp"
#include "probe/ipi_probe.hpp"
#include "xen/cpuid.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::ipi_app {

/// All pairs of one method, row by row.
struct ipi_matrix {
  probe::ipi_method method = probe::ipi_method::membarrier;
  std::vector<probe::ipi_pair> pairs = {};
};

struct ipi_report {
  std::vector<unsigned> from = {};
  std::vector<unsigned> to = {};
  probe::ipi_probe_options options = {};
  std::vector<ipi_matrix> matrices = {};
  std::vector<probe::ipi_broadcast> broadcasts = {};
  xen::guest_type guest = xen::guest_type::none;
  std::optional<xen::cpuid_facts> cpuid_before = {};
  std::optional<xen::cpuid_facts> cpuid_after = {};
  probe::clock_cost clock = {};
  std::uint64_t steal_ticks = 0;  ///< ticks of 10 ms stolen from all CPUs during the measurement
  bool ended_early = false;
};

/// Determines how the IPIs of all pairs were delivered: through event channels or through the APIC.
[[nodiscard]] probe::ipi_type_facts type_of(const ipi_report& report);
/// True unless a pair or a broadcast failed or was refuted.
[[nodiscard]] bool is_good(const ipi_report& report);

void print_tables(std::ostream& out, const ipi_report& report, bool in_colour);
[[nodiscard]] cli::json to_json(const ipi_report& report);
/// Draws the heat map of one method.
[[nodiscard]] std::string to_svg(const ipi_report& report, const ipi_matrix& matrix);
/// Prints caveats about the figures to stderr.
void print_warnings(const ipi_report& report);

}  // namespace xenpv::ipi_app
