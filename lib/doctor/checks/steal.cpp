// Stolen time since boot: a vCPU was ready to run and the hypervisor did not run it.
#include <algorithm>

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
  check_result result{.id = "steal"};
  if (snapshot.cpu_times.empty()) {
    result.summary = "stolen time cannot be determined";
    result.evidence.push_back(unreadable("/proc/stat"));
    result.remedy = "a kernel with /proc mounted shows it";
    out.push_back(std::move(result));
    return;
  }
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
  result.summary = fmt::format("since boot {} of CPU {}'s time was stolen, the most of all",
                               share_text(worst), cpu);
  if (worst == 0) result.summary = "no time was stolen since boot";
  cite(result, "/proc/stat steal, in ticks of 10 ms", ticks);
  if (result.verdict != health::pass)
    result.remedy =
        "the host has more vCPUs ready than CPUs: run fewer guests, or give this one more weight "
        "(xl sched-credit2) or its own CPUs (cpus= in xl.cfg)";
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
