#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "base/output_file.hpp"
#include "cli/progress.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "ping_report.hpp"
#include "probe/clock_facts.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::evtchn_app {
namespace {

struct ping_options {
  std::optional<async::cpu_list> from;
  std::optional<async::cpu_list> to;
  probe::pair_probe_options probe_options;
  bool block = false;
  bool json = false;
  std::string svg;
};

ping_report measure(const ping_options& options) {
  ping_report out;
  out.from = async::selected_cpus(options.from);
  out.to = async::selected_cpus(options.to);
  out.options = options.probe_options;
  auto custodian = xen::custodian::start();
  const auto before = probe::read_cpu_times(out.options.root);
  {
    probe::pair_probe probe(custodian, out.options);
    cli::progress_line progress;
    for (const auto from : out.from)
      for (const auto to : out.to) {
        progress.show(fmt::format("CPU {} to CPU {}: {} of {} pairs", from, to,
                                  out.pairs.size() + 1, out.from.size() * out.to.size()));
        out.pairs.push_back(probe.measure(from, to));
      }
  }
  out.steal_ticks = probe::steal_between(before, probe::read_cpu_times(out.options.root));
  return out;
}

cli::exit_code ping(const ping_options& options, std::ostream& out) {
  if (options.probe_options.spin && options.block)
    throw failure(errc::invalid_argument, "--spin and --block", "choose one");
  const bool prints_picture = is_standard_output(options.svg);
  if (options.json && prints_picture)
    throw failure(errc::invalid_argument, "--json and --svg -", "write one of them to a file");
  const auto report = measure(options);
  if (!options.svg.empty()) write_output(options.svg, to_svg(report), output_access::by_umask, out);
  if (options.json)
    cli::print_json(out, to_json(report));
  else if (!prints_picture)
    print_tables(out, report);
  out.flush();
  print_warnings(report);
  const bool has_bad =
      std::ranges::any_of(report.pairs, probe::is_bad, &probe::pair_result::verdict);
  return has_bad ? cli::exit_code::failed : cli::exit_code::ok;
}

}  // namespace

void add_ping(cli::app& app) {
  static ping_options options;
  auto& probe_options = options.probe_options;
  auto& command = app.add_command("ping", "measure event channels between all pairs of CPUs");
  command
      .describe(
          "Binds a loopback channel between two vCPUs of this guest, with each end's events "
          "delivered to one of them, and sends events back and forth, like a PV device. Times are "
          "round trips on the sender's clock. On the diagonal, one thread sends to itself without "
          "a wake-up: the baseline.")
      .describe(
          "A time is valid only if the events arrived on the CPUs of the pair. To verify this, the "
          "counts in /proc/interrupts are compared after each pair; ? marks a pair that cannot be "
          "verified, ! one that the counts refute. The exit status is 1 if a pair failed or was "
          "refuted.")
      .example("measure the cost of a wake-up: the difference between the two",
               "xenpv-evtchn ping --spin; xenpv-evtchn ping --block")
      .example("measure from CPU 0 to all CPUs, and draw a heat map",
               "xenpv-evtchn ping --from 0 --svg ping.svg")
      .option("--from CPUS", options.from,
              "senders, such as 0-3,8 (default: all this process may use)", async::as_cpu_list)
      .option("--to CPUS", options.to, "receivers (default: all this process may use)",
              async::as_cpu_list)
      .option("--count N", probe_options.count, "round trips per pair",
              cli::whole_number<std::uint32_t>(1, 100'000'000), {.by_default = "1000"})
      .flag("--spin", probe_options.spin,
            "poll for events instead of sleeping: excludes the wake-up")
      .flag("--block", options.block, "sleep until an event arrives (the default)")
      .option("--fifo PRIORITY", probe_options.fifo_priority, "measure with SCHED_FIFO, 1 to 99",
              cli::whole_number<int>(1, 99))
      .offers_json(options.json)
      .option("--svg FILE", options.svg,
              "also write a heat map of the medians to FILE; -: instead of the text, to stdout",
              cli::as_text)
      .action([](std::ostream& out) { return ping(options, out); });
}

}  // namespace xenpv::evtchn_app
