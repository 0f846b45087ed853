#include "print.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <ostream>

#include "xenpv/cli/table.hpp"

namespace xenpv::doctor_app {
namespace {

using cli::printable;

constexpr std::size_t verdict_width = 9;

void print_details(std::ostream& out, const diag::finding& row, std::size_t indent) {
  for (const auto& each : row.evidence)
    out << fmt::format("{:{}}{}: {}\n", "", indent, printable(each.source), printable(each.value));
  if (!row.cure.empty()) out << fmt::format("{:{}}-> {}\n", "", indent, printable(row.cure));
}

}  // namespace

void print_rows(std::ostream& out, const diag::health_report& report, bool with_all) {
  std::size_t width = 0;
  for (const auto& row : report.findings)
    width = std::max(width, row.id.size());
  for (const auto& row : report.findings) {
    out << fmt::format("{:{}}{:{}}  {}\n", to_string(row.verdict), verdict_width, row.id, width,
                       printable(row.summary));
    if (with_all || row.verdict != diag::health::pass)
      print_details(out, row, verdict_width + width + 2);
  }
}

void tell_summary(const diag::health_report& report) {
  const auto count = [&](diag::health verdict) {
    return std::count_if(report.findings.begin(), report.findings.end(),
                         [&](const diag::finding& row) { return row.verdict == verdict; });
  };
  std::cerr << fmt::format("{} PASS, {} WARN, {} FAIL, {} UNKNOWN\n", count(diag::health::pass),
                           count(diag::health::warn), count(diag::health::fail),
                           count(diag::health::unknown));
}

void print_changes(std::ostream& out, const diag::comparison& comparison) {
  cli::table table({{"CHANGE"}, {"WHAT"}, {"BEFORE"}, {"AFTER"}});
  for (const auto& each : comparison.changes)
    table.add_row({std::string(to_string(each.sense)), each.what, each.before, each.after});
  if (!table.empty()) table.print(out);
}

cli::json to_json(const diag::comparison& comparison) {
  auto document = cli::json_document("xenpv-doctor.comparison", 1);
  document["got_worse"] = comparison.got_worse();
  document["changes"] = cli::json::array();
  for (const auto& each : comparison.changes)
    document["changes"].push_back({{"sense", to_string(each.sense)},
                                   {"what", each.what},
                                   {"before", each.before},
                                   {"after", each.after}});
  document["figures_compared"] = comparison.compared;
  document["figures_within_noise"] = comparison.within_noise;
  document["not_compared"] = comparison.not_compared;
  return document;
}

void tell_summary(const diag::comparison& comparison) {
  std::cerr << fmt::format("{} changes; {} of {} measured figures stayed within the noise\n",
                           comparison.changes.size(), comparison.within_noise, comparison.compared);
  constexpr std::size_t most = 10;
  for (std::size_t i = 0; i < comparison.not_compared.size() && i < most; ++i)
    std::cerr << fmt::format("not compared: {}\n", printable(comparison.not_compared[i]));
  if (comparison.not_compared.size() > most)
    std::cerr << fmt::format("and {} more; --json has them\n",
                             comparison.not_compared.size() - most);
}

}  // namespace xenpv::doctor_app
