// Checks the stolen time since boot: the time during which a vCPU was ready to run but the
// hypervisor did not run it.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

constexpr double noticeable = 0.05;
constexpr double heavy = 0.30;

double share_of(const probe::cpu_time& time) {
  const auto all = time.busy + time.idle + time.steal;
  return all == 0 ? 0.0 : static_cast<double>(time.steal) / static_cast<double>(all);
}

}  // namespace

void check_steal(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.cpu_times.empty())
    return add_unknown(out, "steal", "stolen time cannot be determined", unreadable("/proc/stat"),
                       "mount /proc");
  check_result result{.id = "steal"};
  double worst = 0;
  unsigned cpu = snapshot.cpu_times.front().cpu;
  std::string ticks;
  for (const auto& entry : snapshot.cpu_times) {
    if (share_of(entry) > worst) {
      worst = share_of(entry);
      cpu = entry.cpu;
    }
    if (entry.cpu < 16)
      ticks += fmt::format("{}cpu{} {}", ticks.empty() ? "" : ", ", entry.cpu, entry.steal);
  }
  if (snapshot.cpu_times.size() > 16)
    ticks += fmt::format(", ... ({} CPUs)", snapshot.cpu_times.size());
  result.verdict = worst >= heavy        ? health::fail
                   : worst >= noticeable ? health::warn
                                         : health::pass;
  result.summary =
      fmt::format("{} of CPU {}'s time since boot was stolen, the highest share of all CPUs",
                  share_text(worst), cpu);
  if (worst == 0) result.summary = "no time was stolen since boot";
  cite(result, "/proc/stat steal, in ticks of 10 ms", ticks);
  if (result.verdict != health::pass)
    result.remedy =
        "the host has more runnable vCPUs than CPUs: run fewer guests, or give this guest more "
        "weight (xl sched-credit2) or its own CPUs (cpus= in xl.cfg)";
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
