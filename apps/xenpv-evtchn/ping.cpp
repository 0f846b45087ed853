#include <fmt/format.h>

#include <fstream>
#include <ostream>

#include "commands.hpp"
#include "ping_report.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/cli/progress.hpp"
#include "xenpv/cli/value.hpp"
#include "xenpv/diag/clock_facts.hpp"

namespace xenpv::evtchn_app {
namespace {

struct ping_words {
  std::optional<async::cpu_list> from;
  std::optional<async::cpu_list> to;
  std::uint32_t count = 1000;
  bool spin = false;
  bool block = false;
  std::optional<int> fifo;
  bool json = false;
  std::string svg;
};

ping_report measure(const ping_words& words) {
  ping_report out;
  out.from = async::wished_cpus(words.from);
  out.to = async::wished_cpus(words.to);
  out.how.count = words.count;
  out.how.spin = words.spin;
  out.how.fifo_priority = words.fifo;
  auto custodian = xen::custodian::start();
  const auto before = diag::read_cpu_times(out.how.root);
  {
    diag::pair_probe probe(custodian, out.how);
    cli::progress_line progress;
    for (const auto from : out.from)
      for (const auto to : out.to) {
        progress.show(fmt::format("CPU {} to CPU {}: {} of {} pairs", from, to,
                                  out.pairs.size() + 1, out.from.size() * out.to.size()));
        out.pairs.push_back(probe.measure(from, to));
      }
  }
  out.steal_ticks = diag::steal_between(before, diag::read_cpu_times(out.how.root));
  return out;
}

void write_picture(const ping_report& report, const std::string& path) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << to_svg(report);
  file.flush();
  if (!file) throw_errno(fmt::format("write {}", path));
}

cli::exit_code ping(const ping_words& words, std::ostream& out) {
  if (words.spin && words.block)
    throw failure(errc::invalid_argument, "--spin and --block", "one of them, please");
  const auto report = measure(words);
  if (!words.svg.empty()) write_picture(report, words.svg);
  if (words.json)
    cli::print_json(out, to_json(report));
  else
    print_tables(out, report);
  out.flush();
  tell_doubts(report);
  const bool good =
      !report.any(diag::probe_verdict::failed) && !report.any(diag::probe_verdict::refuted);
  return good ? cli::exit_code::ok : cli::exit_code::failed;
}

}  // namespace

void add_ping(cli::app& app) {
  static ping_words words;
  auto& command = app.add_command("ping", "measure event channels between all pairs of CPUs");
  command
      .describe(
          "Binds a loopback channel between two vCPUs of this guest, has each end delivered to "
          "its CPU, and sends events back and forth: the path that PV devices take. Times are "
          "round trips, read on the sender's clock. On the diagonal one thread sends to itself "
          "and nobody is woken: what the rest is to be compared with.")
      .describe(
          "A time is a pair's only if the events really came to its CPUs. So the counts of "
          "/proc/interrupts are compared after each pair; ? marks a pair that cannot be verified, "
          "! one that the counts refute. The exit status is 1 if a pair failed or was refuted.")
      .example("what the wake-up costs: the difference of the two",
               "xenpv-evtchn ping --spin; xenpv-evtchn ping --block")
      .example("from CPU 0 to all, as a picture too", "xenpv-evtchn ping --from 0 --svg ping.svg")
      .option("--from CPUS", words.from, "senders, as in 0-3,8 (default: all this process may use)",
              async::as_cpu_list)
      .option("--to CPUS", words.to, "who answers (default: all this process may use)",
              async::as_cpu_list)
      .option("--count N", words.count, "round trips of each pair",
              cli::whole_number<std::uint32_t>(1, 100'000'000), {.by_default = "1000"})
      .flag("--spin", words.spin, "look for events without sleeping: leaves out waking up")
      .flag("--block", words.block, "sleep until an event comes (the default)")
      .option("--fifo PRIORITY", words.fifo, "measure with SCHED_FIFO, 1 to 99",
              cli::whole_number<int>(1, 99))
      .offers_json(words.json)
      .option("--svg FILE", words.svg, "also write a heat map of the medians to FILE", cli::as_text)
      .action([](std::ostream& out) { return ping(words, out); });
}

}  // namespace xenpv::evtchn_app
