// xenpv-ipi: measures the cost of IPIs between the vCPUs of this guest.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <ostream>

#include "base/terminal.hpp"
#include "cli/app.hpp"
#include "cli/value.hpp"
#include "measuring/measuring.hpp"
#include "probe/clock_facts.hpp"
#include "report.hpp"
#include "xenpv/async/cpu_set.hpp"

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
  explicit run(const run_options& options) : options_(options), probe_(options.probe_options) {
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
  bool should_continue(std::string_view next) {
    report_.ended_early = !progress_.go_on(next);
    return !report_.ended_early;
  }

  void measure_pairs(ipi_method method) {
    auto& matrix = report_.matrices.emplace_back(ipi_matrix{.method = method});
    for (const auto from : report_.from)
      for (const auto to : report_.to) {
        if (!should_continue(fmt::format("{}: CPU {} to CPU {}", to_string(method), from, to)))
          return;
        matrix.pairs.push_back(probe_.measure(method, from, to));
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
        report_.broadcasts.push_back(probe_.broadcast(from, targets));
      }
    }
  }

  const run_options& options_;
  measuring::progress progress_;
  probe::ipi_probe probe_;
  ipi_report report_;
};

void write_picture(const ipi_report& report, const std::string& path) {
  if (report.matrices.empty())
    throw failure(errc::invalid_argument, "--svg", "broadcast alone produces no matrix");
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << to_svg(report, report.matrices.front());
  file.flush();
  if (!file) throw_errno(fmt::format("write {}", path));
}

cli::exit_code measure(run_options options, std::ostream& out) {
  if (options.methods.empty())
    options.methods = {ipi_method::membarrier, ipi_method::futex, ipi_method::eventfd,
                       std::nullopt};
  auto& probe_options = options.probe_options;
  probe_options.batch = std::min(probe_options.batch, probe_options.count);
  const auto report = run(options).measure();
  if (!options.svg.empty()) write_picture(report, options.svg);
  if (options.json)
    cli::print_json(out, to_json(report));
  else
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
          "the APIC (native), and the evidence.")
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
      .option("--svg FILE", options.svg,
              "also write a heat map of the first method's medians to FILE", cli::as_text);
}

}  // namespace
}  // namespace xenpv::ipi_app

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  xenpv::cli::app app("xenpv-ipi", "measure IPIs between the vCPUs of this Xen guest");
  static xenpv::ipi_app::run_options options;
  xenpv::ipi_app::describe(app.root());
  xenpv::ipi_app::add_options(app.root(), options);
  app.root().action([](std::ostream& out) { return xenpv::ipi_app::measure(options, out); });
  return app.run(argc, argv);
}
