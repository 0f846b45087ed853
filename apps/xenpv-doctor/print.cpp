#include "print.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <ostream>

#include "cli/table.hpp"

namespace xenpv::doctor_app {
namespace {

using cli::printable;

constexpr std::size_t verdict_width = 9;

void print_details(std::ostream& out, const doctor::check_result& row, std::size_t indent) {
  for (const auto& item : row.evidence)
    out << fmt::format("{:{}}{}: {}\n", "", indent, printable(item.source), printable(item.value));
  if (!row.remedy.empty()) out << fmt::format("{:{}}-> {}\n", "", indent, printable(row.remedy));
}

}  // namespace

void print_rows(std::ostream& out, const doctor::health_report& report, bool show_all) {
  std::size_t width = 0;
  for (const auto& row : report.check_results)
    width = std::max(width, row.id.size());
  for (const auto& row : report.check_results) {
    out << fmt::format("{:{}}{:{}}  {}\n", to_string(row.verdict), verdict_width, row.id, width,
                       printable(row.summary));
    if (show_all || row.verdict != doctor::health::pass)
      print_details(out, row, verdict_width + width + 2);
  }
}

void print_summary(const doctor::health_report& report) {
  const auto count = [&](doctor::health verdict) {
    return std::ranges::count(report.check_results, verdict, &doctor::check_result::verdict);
  };
  std::cerr << fmt::format("{} PASS, {} WARN, {} FAIL, {} UNKNOWN\n", count(doctor::health::pass),
                           count(doctor::health::warn), count(doctor::health::fail),
                           count(doctor::health::unknown));
}

void print_changes(std::ostream& out, const doctor::comparison& comparison) {
  cli::table table({{"CHANGE"}, {"WHAT"}, {"BEFORE"}, {"AFTER"}});
  for (const auto& change : comparison.changes)
    table.add_row(cli::cells_of(to_string(change.sense), change.what, change.before, change.after));
  if (!table.empty()) table.print(out);
}

cli::json to_json(const doctor::comparison& comparison) {
  auto document = cli::json_document("xenpv-doctor.comparison", 1);
  document["got_worse"] = comparison.got_worse();
  document["changes"] =
      cli::json_array(comparison.changes, [](const doctor::health_change& change) {
        return cli::json{{"sense", to_string(change.sense)},
                         {"what", change.what},
                         {"before", change.before},
                         {"after", change.after}};
      });
  document["figures_compared"] = comparison.compared;
  document["figures_within_noise"] = comparison.within_noise;
  document["not_compared"] = comparison.not_compared;
  return document;
}

void print_summary(const doctor::comparison& comparison) {
  std::cerr << fmt::format("{} changes; {} of {} measured figures stayed within the noise\n",
                           comparison.changes.size(), comparison.within_noise, comparison.compared);
  constexpr std::size_t max_lines = 10;
  for (std::size_t i = 0; i < comparison.not_compared.size() && i < max_lines; ++i)
    std::cerr << fmt::format("not compared: {}\n", printable(comparison.not_compared[i]));
  if (comparison.not_compared.size() > max_lines)
    std::cerr << fmt::format("and {} more, see --json\n",
                             comparison.not_compared.size() - max_lines);
}

}  // namespace xenpv::doctor_app
