// What ping prints: tables, JSON, a picture.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "xenpv/cli/json.hpp"
#include "xenpv/diag/pair_probe.hpp"

namespace xenpv::evtchn_app {

struct ping_report {
  std::vector<unsigned> from;
  std::vector<unsigned> to;
  std::vector<diag::pair_result> pairs;  ///< row by row
  diag::pair_probe_options how;
  std::uint64_t steal_ticks = 0;  ///< of 10 ms, stolen from all CPUs meanwhile

  [[nodiscard]] bool any(diag::probe_verdict verdict) const noexcept;
};

void print_tables(std::ostream& out, const ping_report& report);
[[nodiscard]] cli::json to_json(const ping_report& report);
[[nodiscard]] std::string to_svg(const ping_report& report);
/// To standard error: what the reader has to know to judge the figures.
void tell_doubts(const ping_report& report);

}  // namespace xenpv::evtchn_app
