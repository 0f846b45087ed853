#include "print.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <ostream>
#include <sstream>

#include "base/parse.hpp"
#include "base/terminal.hpp"
#include "cli/table.hpp"
#include "cli/text.hpp"

namespace xenpv::doctor_app {
namespace {

using cli::printable;

constexpr std::size_t verdict_width = 9;
/// The narrowest text that can still be read.
constexpr std::size_t narrowest = 20;

/// The width of the column CHANGE, with the gap to the next one.
constexpr std::size_t change_width = 11;

/// Prints `head` and the text beside it. Further lines of the text begin in column `indent`.
void print_wrapped(std::ostream& out, std::string_view head, std::size_t indent,
                   std::string_view text) {
  const auto columns = text_columns(STDOUT_FILENO);
  const auto width = columns > indent + narrowest ? columns - indent : narrowest;
  auto beside = std::string(head);
  for (const auto& line : cli::wrap(printable(text), width)) {
    out << beside << line << '\n';
    beside.assign(indent, ' ');
  }
}
/// The same with the head padded to the indent: two columns.
void print_beside(std::ostream& out, std::string_view head, std::size_t indent,
                  std::string_view text) {
  print_wrapped(out, fmt::format("{:{}}", head, indent), indent, text);
}

std::size_t longest_line(std::string_view text) {
  std::size_t out = 0;
  for (const auto line : split(text, '\n'))
    out = std::max(out, cli::display_width(line));
  return out;
}

/// Prints the evidence, and the remedy unless it repeats the evidence.
void print_details(std::ostream& out, const doctor::result_group& rows) {
  const std::string indent(verdict_width, ' ');
  std::vector<doctor::quote> printed;
  for (const auto* row : rows)
    for (const auto& item : row->evidence) {
      if (std::ranges::count(printed, item) > 0) continue;
      printed.push_back(item);
      print_wrapped(out, indent, verdict_width + 2, fmt::format("{}: {}", item.source, item.value));
    }
  const auto remedy = remedy_of(rows);
  if (!remedy.empty()) print_wrapped(out, indent + "-> ", verdict_width + 3, remedy);
}

std::string ids_of(const doctor::result_group& rows) {
  std::string out;
  for (const auto* row : rows)
    out += (out.empty() ? "" : ", ") + row->id;
  return out;
}

}  // namespace

void print_rows(std::ostream& out, const doctor::health_report& report, bool show_all) {
  std::size_t width = 0;
  for (const auto& row : report.check_results)
    width = std::max(width, row.id.size());
  for (const auto& rows : group_results(report.check_results, !show_all)) {
    const auto& first = *rows.front();
    const auto id = rows.size() == 1 ? first.id : fmt::format("{} rows", rows.size());
    print_beside(out, fmt::format("{:{}}{}", to_string(first.verdict), verdict_width, id),
                 verdict_width + width + 2,
                 rows.size() == 1 ? first.summary : "cannot be determined: " + ids_of(rows));
    if (show_all || first.verdict != doctor::health::pass) print_details(out, rows);
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
  if (comparison.changes.empty()) return;
  cli::table table({{"CHANGE"}, {"WHAT"}, {"BEFORE"}, {"AFTER"}});
  for (const auto& change : comparison.changes)
    table.add_row(cli::cells_of(to_string(change.sense), change.what, change.before, change.after));
  std::ostringstream text;
  table.print(text);
  if (longest_line(text.str()) <= text_columns(STDOUT_FILENO)) {
    out << text.str();
    return;
  }
  for (const auto& change : comparison.changes) {
    print_beside(out, to_string(change.sense), change_width, change.what);
    print_beside(out, "  before", change_width, change.before.empty() ? "-" : change.before);
    print_beside(out, "  after", change_width, change.after.empty() ? "-" : change.after);
  }
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
