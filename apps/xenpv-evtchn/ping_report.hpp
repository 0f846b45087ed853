// The output of ping: tables, JSON, a heat map.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "cli/json.hpp"
#include "probe/pair_probe.hpp"

namespace xenpv::evtchn_app {

struct ping_report {
  std::vector<unsigned> from;
  std::vector<unsigned> to;
  std::vector<probe::pair_result> pairs;  ///< row by row
  probe::pair_probe_options options;
  std::uint64_t steal_ticks = 0;  ///< ticks of 10 ms stolen from all CPUs during the measurement
};

void print_tables(std::ostream& out, const ping_report& report);
[[nodiscard]] cli::json to_json(const ping_report& report);
[[nodiscard]] std::string to_svg(const ping_report& report);
/// Prints caveats about the figures to stderr.
void print_warnings(const ping_report& report);

}  // namespace xenpv::evtchn_app
