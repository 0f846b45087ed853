// xenpv-ipi: what IPIs between the vCPUs of this guest cost, from inside.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <ostream>

#include "report.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/terminal.hpp"
#include "xenpv/cli/app.hpp"
#include "xenpv/cli/interruption.hpp"
#include "xenpv/cli/progress.hpp"
#include "xenpv/cli/value.hpp"
#include "xenpv/diag/clock_facts.hpp"

namespace xenpv::ipi_app {
namespace {

using namespace std::chrono_literals;

enum class method { membarrier, futex, eventfd, broadcast };

struct words {
  std::vector<method> methods;
  std::optional<async::cpu_list> from;
  std::optional<async::cpu_list> to;
  diag::ipi_probe_options how;
  bool json = false;
  std::string svg;
};

diag::ipi_method pair_method(method which) {
  if (which == method::futex) return diag::ipi_method::futex;
  return which == method::eventfd ? diag::ipi_method::eventfd : diag::ipi_method::membarrier;
}

/// Measures pair by pair until all are done or somebody asks to end.
class run {
 public:
  explicit run(const words& asked) : asked_(asked), probe_(asked.how) {
    report_.from = async::wished_cpus(asked.from);
    report_.to = async::wished_cpus(asked.to);
    report_.how = asked.how;
    report_.guest = xen::read_guest_facts(asked.how.root).type;
  }

  ipi_report measure() {
    const auto& root = asked_.how.root;
    report_.clock = diag::measure_clock_cost();
    report_.cpuid_before = xen::read_cpuid(report_.guest, root);
    const auto before = diag::read_cpu_times(root);
    for (const auto which : asked_.methods) {
      if (which == method::broadcast)
        measure_broadcasts();
      else
        measure_pairs(pair_method(which));
    }
    report_.steal_ticks = diag::steal_between(before, diag::read_cpu_times(root));
    report_.cpuid_after = xen::read_cpuid(report_.guest, root);
    return std::move(report_);
  }

 private:
  bool goes_on() {
    report_.ended_early = report_.ended_early || interruption_.is_asked();
    return !report_.ended_early;
  }

  void measure_pairs(diag::ipi_method which) {
    auto& matrix = report_.matrices.emplace_back(ipi_matrix{.method = which});
    for (const auto from : report_.from)
      for (const auto to : report_.to) {
        if (!goes_on()) return;
        progress_.show(fmt::format("{}: CPU {} to CPU {}", to_string(which), from, to));
        matrix.pairs.push_back(probe_.measure(which, from, to));
      }
  }

  void measure_broadcasts() {
    for (const auto from : report_.from) {
      std::vector<unsigned> targets;
      for (const auto to : report_.to) {
        if (to == from) continue;
        targets.push_back(to);
        if (!goes_on()) return;
        progress_.show(fmt::format("broadcast: CPU {} to {} others", from, targets.size()));
        report_.broadcasts.push_back(probe_.broadcast(from, targets));
      }
    }
  }

  const words& asked_;
  cli::interruption interruption_;
  cli::progress_line progress_;
  diag::ipi_probe probe_;
  ipi_report report_;
};

void write_picture(const ipi_report& report, const std::string& path) {
  if (report.matrices.empty())
    throw failure(errc::invalid_argument, "--svg", "a broadcast alone has no matrix");
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << to_svg(report, report.matrices.front());
  file.flush();
  if (!file) throw_errno(fmt::format("write {}", path));
}

cli::exit_code measure(words asked, std::ostream& out) {
  if (asked.methods.empty())
    asked.methods = {method::membarrier, method::futex, method::eventfd, method::broadcast};
  asked.how.batch = std::min(asked.how.batch, asked.how.count);
  const auto report = run(asked).measure();
  if (!asked.svg.empty()) write_picture(report, asked.svg);
  if (asked.json)
    cli::print_json(out, to_json(report));
  else
    print_tables(out, report, can_redraw(STDOUT_FILENO));
  out.flush();
  tell_doubts(report);
  return is_good(report) ? cli::exit_code::ok : cli::exit_code::failed;
}

void describe(cli::command& command) {
  command
      .describe(
          "Measures between all pairs of CPUs. membarrier interrupts a CPU that runs a thread of "
          "this program and returns when it has answered: one IPI, there and back. futex and "
          "eventfd "
          "wake a thread on a CPU that is idle and are woken by it: two wake-ups, each with an "
          "IPI, "
          "and the scheduler's work. broadcast interrupts one, two, three and more CPUs at once. "
          "On "
          "the diagonal nothing is sent: what the rest is to be compared with. All times are round "
          "trips, read on one CPU's clock.")
      .describe(
          "The kernel leaves an IPI out where it can, and then a time says nothing: a membarrier "
          "to a CPU whose thread was just preempted takes 150 ns. So calls are made in batches, "
          "each is compared with the counts of /proc/interrupts, and one that does not add up is "
          "thrown away, with its times. When nothing is left the verdict is 'refuted' and the exit "
          "status 1.")
      .describe(
          "The last line says whether the IPIs went through Xen's event channels (pv) or through "
          "the APIC (native), and what that is told from.")
      .example("everything, between all CPUs", "xenpv-ipi")
      .example("one pair, thoroughly",
               "xenpv-ipi --method membarrier --from 0 --to 1 --count 10000")
      .example("a picture for a report", "xenpv-ipi --method eventfd --svg wake-ups.svg");
}

void offer_options(cli::command& command, words& into) {
  using diag::policy_wish;
  command
      .option("--method METHOD", into.methods,
              "membarrier, futex, eventfd or broadcast (default: all)",
              cli::one_of<method>({{"membarrier", method::membarrier},
                                   {"futex", method::futex},
                                   {"eventfd", method::eventfd},
                                   {"broadcast", method::broadcast}}))
      .option("--from CPUS", into.from, "senders, as in 0-3,8 (default: all this process may use)",
              async::as_cpu_list)
      .option("--to CPUS", into.to, "who is interrupted (default: all this process may use)",
              async::as_cpu_list)
      .option("--count N", into.how.count, "calls of each pair that count",
              cli::whole_number<std::uint32_t>(1, 100'000'000), {.by_default = "1000"})
      .option("--batch N", into.how.batch,
              "calls between two looks at the counts; fewer where wake-ups do not add up",
              cli::whole_number<std::uint32_t>(1, 1'000'000), {.by_default = "100"})
      .option("--rest TIME", into.how.rest,
              "how long a CPU is left alone before it is woken again, so that it is idle; doubled "
              "where that is too short",
              cli::time_within(0ns, 1s), {.by_default = "200us"})
      .option("--policy POLICY", into.how.schedule.policy,
              "fifo, other, or auto: fifo where it is permitted",
              cli::one_of<policy_wish>({{"auto", policy_wish::automatic},
                                        {"fifo", policy_wish::fifo},
                                        {"other", policy_wish::other}}),
              {.by_default = "auto"})
      .option("--priority N", into.how.schedule.priority, "of SCHED_FIFO, 1 to 99",
              cli::whole_number<int>(1, 99), {.by_default = "80"})
      .offers_json(into.json)
      .option("--svg FILE", into.svg, "also write a heat map of the first method's medians to FILE",
              cli::as_text);
}

}  // namespace
}  // namespace xenpv::ipi_app

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  xenpv::cli::app app("xenpv-ipi", "measure IPIs between the vCPUs of this Xen guest");
  static xenpv::ipi_app::words words;
  xenpv::ipi_app::describe(app.root());
  xenpv::ipi_app::offer_options(app.root(), words);
  app.root().action([](std::ostream& out) { return xenpv::ipi_app::measure(words, out); });
  return app.run(argc, argv);
}
