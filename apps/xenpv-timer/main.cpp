// xenpv-timer: how late this guest's PV timers are, from inside.
#include <fmt/format.h>

#include <csignal>
#include <ostream>

#include "report.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/cli/app.hpp"
#include "xenpv/cli/interruption.hpp"
#include "xenpv/cli/progress.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::timer_app {
namespace {

using namespace std::chrono_literals;

struct words {
  diag::timer_method method = diag::timer_method::clock_nanosleep;
  std::optional<async::cpu_list> cpus;
  std::chrono::nanoseconds interval{};
  std::chrono::nanoseconds duration{};
  std::chrono::nanoseconds gap{};
  diag::policy_wish policy = diag::policy_wish::automatic;
  int priority = 0;
  std::chrono::nanoseconds slack{};
  bool split = false;
  bool histogram = false;
  bool json = false;
};

diag::timer_report measure(const words& asked) {
  cli::interruption interruption;
  cli::progress_line progress;
  diag::timer_probe_options how{
      .method = asked.method,
      .cpus = async::wished_cpus(asked.cpus),
      .interval = asked.interval,
      .duration = asked.duration,
      .schedule = {.policy = asked.policy, .priority = asked.priority, .slack = asked.slack},
      .gap = asked.gap,
      .split = asked.split};
  how.go_on = [&](std::chrono::nanoseconds left) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(left);
    progress.show(fmt::format("measuring, {} s left; Ctrl-C ends it early", seconds.count()));
    return !interruption.is_asked();
  };
  return diag::measure_timers(how);
}

cli::exit_code run(const words& asked, std::ostream& out) {
  const auto report = measure(asked);
  if (asked.json)
    cli::print_json(out, to_json(report));
  else
    print_tables(out, report);
  if (asked.histogram && !asked.json) print_histograms(out, report);
  out.flush();
  tell_doubts(report);
  return is_good(report) ? cli::exit_code::ok : cli::exit_code::failed;
}

void describe(cli::command& command) {
  command
      .describe(
          "Has a thread on each CPU sleep until times that are fixed before it starts, and looks "
          "at "
          "the clock when it wakes. What it was late is the way from the hypervisor's timer "
          "through "
          "the event channel and the kernel to a thread that runs. A period that was over before "
          "its turn came counts as lost, and is in the figures with the time it was late.")
      .describe(
          "The figures come with evidence of what fired: the clock event device, and the counts of "
          "/proc/interrupts before and after. On Xen it has to be the PV timer, on its own CPU, as "
          "often as the thread woke, and the local APIC's timer must not fire: else the verdict is "
          "'refuted' and the exit status 1. Elsewhere than on Xen it measures all the same and "
          "says "
          "that this is not a Xen guest.")
      .describe(
          "A percentile is printed only if ten samples lie beyond it: p99 needs 1000 periods, "
          "p99.9 "
          "10000. SCHED_FIFO is used where it is permitted; where it is not, times are also of the "
          "guest's other work, and the program says so.")
      .describe(
          "cyclictest shows the wake-ups alone and forgets the periods that were lost, so on a CPU "
          "that is taken away for long its figures are lower. With --json, 'wake_up_late_ns' is "
          "what "
          "it would show, and 'late_ns' is of all periods.")
      .example("a thousand wake-ups a second on each CPU, for 5 seconds", "xenpv-timer")
      .example("with p99.9, and how the times are spread", "xenpv-timer --duration 20s --histogram")
      .example("which part is the hypervisor's (needs root)", "xenpv-timer --split")
      .example("does the hypervisor take the CPU away, timers aside", "xenpv-timer --method spin");
}

void offer_options(cli::command& command, words& into) {
  using diag::policy_wish;
  using diag::timer_method;
  command
      .option("--method METHOD", into.method,
              "clock_nanosleep, timerfd, asio (the timers of xenpv's own event loop), or spin: no "
              "timer, finds the times in which the CPU was taken away",
              cli::one_of<timer_method>({{"clock_nanosleep", timer_method::clock_nanosleep},
                                         {"timerfd", timer_method::timerfd},
                                         {"asio", timer_method::asio},
                                         {"spin", timer_method::spin}}),
              {.by_default = "clock_nanosleep"})
      .option("--cpus CPUS", into.cpus, "as in 0-3,8 (default: all this process may use)",
              async::as_cpu_list)
      .option("--interval TIME", into.interval, "from one wake-up to the next",
              cli::time_within(10us, 10s), {.by_default = "1ms"})
      .option("--duration TIME", into.duration, "how long to measure, all CPUs at once",
              cli::time_within(1ms, 24h), {.by_default = "5s"})
      .option("--policy POLICY", into.policy, "fifo, other, or auto: fifo where it is permitted",
              cli::one_of<policy_wish>({{"auto", policy_wish::automatic},
                                        {"fifo", policy_wish::fifo},
                                        {"other", policy_wish::other}}),
              {.by_default = "auto"})
      .option("--priority N", into.priority, "of SCHED_FIFO, 1 to 99",
              cli::whole_number<int>(1, 99), {.by_default = "80"})
      .option("--slack TIME", into.slack, "what the kernel may delay timers of SCHED_OTHER",
              cli::time_within(1ns, 1s), {.by_default = "1ns"})
      .option("--gap TIME", into.gap, "shortest time that spin counts as taken away",
              cli::time_within(100ns, 10s), {.by_default = "10us"})
      .flag("--split", into.split,
            "trace the kernel's timers meanwhile and split lateness into the hypervisor's part and "
            "the guest's; needs root and tracefs, and costs a little time itself")
      .flag("--histogram", into.histogram, "show how the times of each CPU are spread")
      .offers_json(into.json);
}

}  // namespace
}  // namespace xenpv::timer_app

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  xenpv::cli::app app("xenpv-timer", "measure how late the timers of this Xen guest are");
  static xenpv::timer_app::words words;
  xenpv::timer_app::describe(app.root());
  xenpv::timer_app::offer_options(app.root(), words);
  app.root().action([](std::ostream& out) { return xenpv::timer_app::run(words, out); });
  return app.run(argc, argv);
}
