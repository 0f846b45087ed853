#include <fmt/format.h>

#include <fstream>
#include <ostream>
#include <sstream>

#include "commands.hpp"
#include "print.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::doctor_app {
namespace {

/// A report of 64 CPUs has less than a tenth of this.
constexpr std::streamsize largest_report = 64 << 20;

struct compare_words {
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
                  "too large for a report of xenpv-doctor --json");
  out.resize(static_cast<std::size_t>(file.gcount()));
  return out;
}

diag::health_report read_report(const std::string& path) {
  auto report = diag::parse_report(read_file(path));
  if (!report) throw failure(report.error().code, fmt::format("{}: {}", path, report.error().text));
  return std::move(*report);
}

cli::exit_code compare(const compare_words& words, bool json, std::ostream& out) {
  const auto comparison = diag::compare(read_report(words.before), read_report(words.after));
  if (json)
    cli::print_json(out, to_json(comparison));
  else
    print_changes(out, comparison);
  out.flush();
  tell_summary(comparison);
  return static_cast<cli::exit_code>(comparison.got_worse() ? warned : all_well);
}

}  // namespace

void add_compare(cli::app& app, const bool& json) {
  static compare_words words;
  app.add_command("compare", "what changed from one report to another, beyond the noise")
      .describe(
          "Takes two files that --json wrote: before and after some work, or of two guests. Rows "
          "are compared by their verdicts. Measured times (--measure) are compared by p50 and p99: "
          "each is a range, of what the number of samples leaves open (99 %) and of what the "
          "rounds "
          "of the measurement showed; it changed where the two ranges do not touch and it is more "
          "than 5 % apart. Times that the "
          "counts of /proc/interrupts refute are not compared.")
      .example("as a gate", "xenpv-doctor compare good.json now.json || echo 'something got worse'")
      .argument("BEFORE", words.before, "a report, from xenpv-doctor --json", cli::as_text)
      .argument("AFTER", words.after, "another one", cli::as_text)
      .action([&json](std::ostream& out) { return compare(words, json, out); });
}

}  // namespace xenpv::doctor_app
