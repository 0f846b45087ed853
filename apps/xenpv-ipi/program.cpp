// xenpv-ipi: measures the cost of IPIs between the vCPUs of this guest.
#include <fmt/format.h>
#include <linux/capability.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "base/output_file.hpp"
#include "base/terminal.hpp"
#include "cli/app.hpp"
#include "cli/value.hpp"
#include "measuring/measuring.hpp"
#include "probe/clock_facts.hpp"
#include "programs.hpp"
#include "report.hpp"
#include "sandbox/privileges.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/standard_streams.hpp"

namespace xenpv::ipi_app {
namespace {

using namespace std::chrono_literals;

using probe::ipi_method;

struct run_options {
  std::vector<std::optional<ipi_method>> methods;  ///< unset: broadcast
  std::optional<async::cpu_list> from;
  std::optional<async::cpu_list> to;
  probe::ipi_probe_options probe_options;
  bool json = false;
  std::string svg;
};

/// Measures pair by pair until all are done or a signal ends the measurement.
class run {
 public:
  explicit run(const run_options& options)
      : options_(options), probe_(with_progress(options.probe_options)) {
    report_.from = async::selected_cpus(options.from);
    report_.to = async::selected_cpus(options.to);
    report_.options = options.probe_options;
    report_.guest = xen::read_guest_facts(options.probe_options.root).type;
  }

  ipi_report measure() {
    const auto& root = options_.probe_options.root;
    report_.clock = probe::measure_clock_cost();
    report_.cpuid_before = xen::read_cpuid(report_.guest, root);
    const auto before = probe::read_cpu_times(root);
    for (const auto method : options_.methods) {
      if (report_.ended_early) break;
      if (method)
        measure_pairs(*method);
      else
        measure_broadcasts();
    }
    report_.steal_ticks = probe::steal_between(before, probe::read_cpu_times(root));
    report_.cpuid_after = xen::read_cpuid(report_.guest, root);
    return std::move(report_);
  }

 private:
  probe::ipi_probe_options with_progress(probe::ipi_probe_options options) {
    options.go_on = [this](std::uint64_t calls) { return show_calls(calls); };
    return options;
  }

  /// Shows the name of the next measurement. Returns false once the program must stop.
  bool should_continue(std::string text) {
    current_ = fmt::format("{} ({} of {})", std::move(text), ++begun_, series_count());
    report_.ended_early = !progress_.go_on(current_ + "; Ctrl-C ends early");
    return !report_.ended_early;
  }

  /// Shows how much of a series is done. Called on the measuring thread, between batches, while
  /// this object's thread waits.
  bool show_calls(std::uint64_t calls) {
    constexpr auto pause = 100ms;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_shown_ < pause) return true;
    last_shown_ = now;
    report_.ended_early = !progress_.go_on(fmt::format("{}: {} %; Ctrl-C ends early", current_,
                                                       100 * calls / options_.probe_options.count));
    return !report_.ended_early;
  }

  /// Returns the number of pairs and broadcasts of all methods.
  [[nodiscard]] std::size_t series_count() const {
    std::size_t broadcasts = 0;
    for (const auto from : report_.from)
      broadcasts += static_cast<std::size_t>(
          std::ranges::count_if(report_.to, [from](unsigned to) { return to != from; }));
    std::size_t out = 0;
    for (const auto method : options_.methods)
      out += method ? report_.from.size() * report_.to.size() : broadcasts;
    return out;
  }

  /// Drops a result without times if the user ended the measurement: this is not a failure.
  template <class Result>
  void keep(Result result, std::vector<Result>& results) const {
    if (!report_.ended_early || result.kept > 0) results.push_back(std::move(result));
  }

  void measure_pairs(ipi_method method) {
    auto& matrix = report_.matrices.emplace_back(ipi_matrix{.method = method});
    for (const auto from : report_.from)
      for (const auto to : report_.to) {
        if (!should_continue(fmt::format("{}: CPU {} to CPU {}", to_string(method), from, to)))
          return;
        keep(probe_.measure(method, from, to), matrix.pairs);
        if (report_.ended_early) return;
      }
  }

  void measure_broadcasts() {
    for (const auto from : report_.from) {
      std::vector<unsigned> targets;
      for (const auto to : report_.to) {
        if (to == from) continue;
        targets.push_back(to);
        if (!should_continue(
                fmt::format("broadcast: CPU {} to {} other CPUs", from, targets.size())))
          return;
        keep(probe_.broadcast(from, targets), report_.broadcasts);
        if (report_.ended_early) return;
      }
    }
  }

  const run_options& options_;
  measuring::progress progress_;
  std::string current_;    ///< the series that is measured
  std::size_t begun_ = 0;  ///< number of series
  std::chrono::steady_clock::time_point last_shown_ = {};
  probe::ipi_probe probe_;
  ipi_report report_;
};

void write_picture(const ipi_report& report, const std::string& path, std::ostream& out) {
  if (report.matrices.empty())
    throw failure(errc::invalid_argument, "--svg", "broadcast alone produces no matrix");
  write_output(path, to_svg(report, report.matrices.front()), output_access::by_umask, out);
}

cli::exit_code measure(run_options options, std::ostream& out) {
  if (options.methods.empty())
    options.methods = {ipi_method::membarrier, ipi_method::futex, ipi_method::eventfd,
                       std::nullopt};
  auto& probe_options = options.probe_options;
  probe_options.batch = std::min(probe_options.batch, probe_options.count);
  const bool prints_picture = is_standard_output(options.svg);
  if (options.json && prints_picture)
    throw failure(errc::invalid_argument, "--json and --svg -", "write one of them to a file");
  const auto report = run(options).measure();
  if (!options.svg.empty()) write_picture(report, options.svg, out);
  if (options.json)
    cli::print_json(out, to_json(report));
  else if (!prints_picture)
    print_tables(out, report, can_redraw(STDOUT_FILENO));
  out.flush();
  print_warnings(report);
  return is_good(report) ? cli::exit_code::ok : cli::exit_code::failed;
}

void describe(cli::command& command) {
  command
      .describe(
          "Measures between all pairs of CPUs. membarrier interrupts a CPU that runs a thread of "
          "this program and returns after its reply: one IPI, there and back. futex and eventfd "
          "wake a thread on an idle CPU and are woken by it: two wake-ups, each with an IPI and "
          "a scheduling delay. broadcast interrupts one, two, three and more CPUs at once. On "
          "the diagonal, no IPI is sent: the baseline. All times are round trips on one CPU's "
          "clock.")
      .describe(
          "The kernel omits an IPI if it can, and the measured time is then meaningless: a "
          "membarrier to a CPU whose thread was just preempted takes 150 ns. Therefore, calls are "
          "made in batches, and each batch is compared with the counts in /proc/interrupts. A "
          "batch that does not match the counts is discarded with its times. If no batch is left, "
          "the verdict is 'refuted' and the exit status is 1.")
      .describe(
          "The last line shows whether the IPIs went through Xen's event channels (pv) or through "
          "the APIC, or the GIC on ARM (native), and the evidence.")
      .describe(
          "Without root, SCHED_FIFO needs CAP_SYS_NICE or a limit (ulimit -r). As root, the "
          "program drops all capabilities but CAP_SYS_NICE and CAP_DAC_OVERRIDE at its start.")
      .manual_section("FILES", {{"/proc/interrupts", "The counts that verify the measurement."}})
      .example("measure everything, between all CPUs", "xenpv-ipi")
      .example("measure one pair with many calls",
               "xenpv-ipi --method membarrier --from 0 --to 1 --count 10000")
      .example("draw a heat map for a report", "xenpv-ipi --method eventfd --svg wake-ups.svg");
}

void add_options(cli::command& command, run_options& options) {
  auto& probe_options = options.probe_options;
  command
      .option("--method METHOD", options.methods,
              "membarrier, futex, eventfd or broadcast (default: all)",
              cli::one_of<std::optional<ipi_method>>({{"membarrier", ipi_method::membarrier},
                                                      {"futex", ipi_method::futex},
                                                      {"eventfd", ipi_method::eventfd},
                                                      {"broadcast", std::nullopt}}))
      .option("--from CPUS", options.from,
              "senders, such as 0-3,8 (default: all this process may use)", async::as_cpu_list)
      .option("--to CPUS", options.to, "CPUs to interrupt (default: all this process may use)",
              async::as_cpu_list)
      .option("--count N", probe_options.count, "measured calls per pair",
              cli::whole_number<std::uint32_t>(1, 100'000'000), {.by_default = "1000"})
      .option("--batch N", probe_options.batch,
              "calls between two reads of the counts; fewer if wake-ups do not match the counts",
              cli::whole_number<std::uint32_t>(1, 1'000'000), {.by_default = "100"})
      .option(
          "--rest TIME", probe_options.rest,
          "pause before a CPU is woken again, so that it becomes idle; doubled if it is too short",
          cli::time_within(0ns, 1s), {.by_default = "200us"});
  measuring::add_scheduling_options(command, probe_options.schedule);
  command.offers_json(options.json)
      .option(
          "--svg FILE", options.svg,
          "also write a heat map of the first method's medians to FILE; -: instead of the text, to "
          "stdout",
          cli::as_text);
}

}  // namespace
}  // namespace xenpv::ipi_app

namespace xenpv::apps {

int run_ipi(int argc, char** argv) {
  open_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);
  // For SCHED_FIFO, and for --svg in another user's directory.
  sandbox::limit_capabilities({CAP_SYS_NICE, CAP_DAC_OVERRIDE});
  cli::app app("xenpv-ipi", "measure IPIs between the vCPUs of this Xen guest");
  static ipi_app::run_options options;
  ipi_app::describe(app.root());
  ipi_app::add_options(app.root(), options);
  app.root().action([](std::ostream& out) { return ipi_app::measure(options, out); });
  return app.run(argc, argv);
}

}  // namespace xenpv::apps
