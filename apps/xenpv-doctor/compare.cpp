#include <fmt/format.h>

#include <fstream>
#include <ostream>
#include <sstream>

#include "cli/value.hpp"
#include "commands.hpp"
#include "print.hpp"

namespace xenpv::doctor_app {
namespace {

/// A report on 64 CPUs is less than a tenth of this size.
constexpr std::streamsize largest_report = 64 << 20;

struct compare_options {
  std::string before;
  std::string after;
};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_errno(fmt::format("read {}", path));
  std::string out(largest_report, '\0');
  file.read(out.data(), largest_report);
  if (file.bad()) throw_errno(fmt::format("read {}", path));
  if (!file.eof())
    throw failure(errc::invalid_argument, fmt::format("read {}", path),
                  "too large for a report from xenpv-doctor --json");
  out.resize(static_cast<std::size_t>(file.gcount()));
  return out;
}

doctor::health_report read_report(const std::string& path) {
  auto report = doctor::parse_report(read_file(path));
  if (!report) throw failure(report.error().code, fmt::format("{}: {}", path, report.error().text));
  return std::move(*report);
}

cli::exit_code compare(const compare_options& options, bool json, std::ostream& out) {
  if (const auto option = given_examine_option(); !option.empty())
    throw failure(errc::invalid_argument, fmt::format("{} with compare", option),
                  "it applies to the examination of one guest");
  const auto comparison = doctor::compare(read_report(options.before), read_report(options.after));
  if (json)
    cli::print_json(out, to_json(comparison));
  else
    print_changes(out, comparison);
  out.flush();
  print_summary(comparison);
  return static_cast<cli::exit_code>(comparison.got_worse() ? warned : healthy);
}

}  // namespace

void add_compare(cli::app& app, const bool& json) {
  static compare_options options;
  app.add_command("compare", "show the significant changes between two reports")
      .describe(
          "Compares two files written with --json, from before and after a change or from two "
          "guests. Rows are compared by verdict. Measured times (--measure) are compared by p50 "
          "and p99. Each figure has a range: its 99% confidence interval, widened by the spread "
          "of the measurement rounds. A figure has changed if the two ranges do not overlap and "
          "the figures differ by more than 5%. Times refuted by the counts in /proc/interrupts "
          "are not compared.")
      .example("fail after a regression",
               "xenpv-doctor compare good.json now.json || echo 'regression'")
      .argument("BEFORE", options.before, "a report from xenpv-doctor --json", cli::as_text)
      .argument("AFTER", options.after, "the report to compare with it", cli::as_text)
      .action([&json](std::ostream& out) { return compare(options, json, out); });
}

}  // namespace xenpv::doctor_app
