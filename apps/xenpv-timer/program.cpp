// xenpv-timer: measures how late this guest's PV timers are.
#include <fmt/format.h>
#include <linux/capability.h>

#include <csignal>
#include <ostream>

#include "cli/app.hpp"
#include "cli/value.hpp"
#include "live_view.hpp"
#include "measuring/measuring.hpp"
#include "programs.hpp"
#include "report.hpp"
#include "sandbox/privileges.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/standard_streams.hpp"

namespace xenpv::timer_app {
namespace {

using namespace std::chrono_literals;

struct run_options {
  probe::timer_probe_options probe_options;
  std::optional<async::cpu_list> cpus;
  bool histogram = false;
  bool json = false;
};

probe::timer_report measure(const run_options& options) {
  measuring::progress progress;
  auto probe_options = options.probe_options;
  probe_options.cpus = async::selected_cpus(options.cpus);
  probe_options.go_on = [&](const probe::timer_progress& state) {
    return progress.go_on(live_lines(state, progress.max_lines()));
  };
  return probe::measure_timers(probe_options);
}

cli::exit_code run(const run_options& options, std::ostream& out) {
  const auto report = measure(options);
  if (options.json)
    cli::print_json(out, to_json(report));
  else
    print_tables(out, report);
  if (options.histogram && !options.json) print_histograms(out, report);
  out.flush();
  print_warnings(report);
  return is_good(report) ? cli::exit_code::ok : cli::exit_code::failed;
}

void describe(cli::command& command) {
  command
      .describe(
          "A thread on each CPU sleeps until times that are fixed before it starts, and reads the "
          "clock when it wakes. Its lateness is the time from the hypervisor's timer through the "
          "event channel and the kernel to a running thread. A period that ended before the thread "
          "could handle it counts as lost; the figures include its lateness.")
      .describe(
          "The figures come with evidence of the timer that fired: the clock event device, and the "
          "counts in /proc/interrupts before and after. On Xen, the PV timer must fire, on its own "
          "CPU and as often as the thread wakes, and the local APIC timer must not: otherwise "
          "the verdict is 'refuted' and the exit status is 1. ARM guests have no PV timer: there, "
          "the CPU's generic timer must fire, in row arch_timer. Without Xen, the program also "
          "measures, but reports that this is not a Xen guest.")
      .describe(
          "A percentile is printed only if ten samples lie beyond it: p99 needs 1000 periods, "
          "p99.9 needs 10000. SCHED_FIFO is used if permitted; otherwise the times include "
          "delays caused by other tasks in the guest, and a warning is printed.")
      .describe(
          "cyclictest shows only the wake-ups and ignores lost periods, so its figures are lower "
          "on a CPU that is preempted for a long time. With --json, 'wake_up_late_ns' is "
          "comparable to cyclictest, and 'late_ns' covers all periods.")
      .describe(
          "Without root, SCHED_FIFO needs CAP_SYS_NICE or a limit (ulimit -r), and --split is not "
          "possible. As root, the program drops all capabilities but CAP_SYS_NICE at its start.")
      .describe(
          "During the measurement, a terminal shows the figures of each CPU so far, as cyclictest "
          "does. Ctrl-C ends the measurement early and keeps them.")
      .manual_section("FILES",
                      {{"/proc/interrupts", "The counts that verify the measurement."},
                       {"/sys/devices/system/clockevents", "The timer device of each CPU."},
                       {"/sys/kernel/tracing", "The kernel trace, for --split (root)."}})
      .example("measure 1000 wake-ups per second on each CPU, for 5 seconds", "xenpv-timer")
      .example("measure p99.9 and show the distribution", "xenpv-timer --duration 20s --histogram")
      .example("show the hypervisor's part (requires root)", "xenpv-timer --split")
      .example("find times when the CPU was preempted", "xenpv-timer --method spin");
}

void add_options(cli::command& command, run_options& options) {
  using probe::timer_method;
  auto& probe_options = options.probe_options;
  command
      .option("--method METHOD", probe_options.method,
              "clock_nanosleep, timerfd, asio (the timers of xenpv's own event loop), or spin (no "
              "timer; detects times when the CPU was preempted)",
              cli::one_of<timer_method>({{"clock_nanosleep", timer_method::clock_nanosleep},
                                         {"timerfd", timer_method::timerfd},
                                         {"asio", timer_method::asio},
                                         {"spin", timer_method::spin}}),
              {.by_default = "clock_nanosleep"})
      .option("--cpus CPUS", options.cpus,
              "CPUs to measure, such as 0-3,8 (default: all this process may use)",
              async::as_cpu_list)
      .option("--interval TIME", probe_options.interval, "time from one wake-up to the next",
              cli::time_within(10us, 10s), {.by_default = "1ms"})
      .option("--duration TIME", probe_options.duration,
              "how long to measure; all CPUs are measured at the same time",
              cli::time_within(1ms, 24h), {.by_default = "5s"});
  measuring::add_scheduling_options(command, probe_options.schedule);
  command
      .option("--slack TIME", probe_options.schedule.slack,
              "delay that the kernel may add to timers under SCHED_OTHER",
              cli::time_within(1ns, 1s), {.by_default = "1ns"})
      .option("--gap TIME", probe_options.gap, "shortest gap that spin counts as preemption",
              cli::time_within(100ns, 10s), {.by_default = "10us"})
      .flag("--split", probe_options.split,
            "trace the kernel's timers and split lateness into the hypervisor's part and the "
            "guest's; requires root and tracefs, and adds a little overhead")
      .flag("--histogram", options.histogram, "show the distribution of each CPU's times")
      .offers_json(options.json);
}

}  // namespace
}  // namespace xenpv::timer_app

namespace xenpv::apps {

int run_timer(int argc, char** argv) {
  open_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);
  sandbox::limit_capabilities({CAP_SYS_NICE});  // SCHED_FIFO; tracefs belongs to root
  cli::app app("xenpv-timer", "measure how late the timers of this Xen guest are");
  static timer_app::run_options options;
  timer_app::describe(app.root());
  timer_app::add_options(app.root(), options);
  app.root().action([](std::ostream& out) { return timer_app::run(options, out); });
  return app.run(argc, argv);
}

}  // namespace xenpv::apps
