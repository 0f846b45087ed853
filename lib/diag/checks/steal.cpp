// Time in which a vCPU was ready to run and the hypervisor did not run it, since boot.
#include <algorithm>

#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

constexpr double noticeable = 0.05;
constexpr double heavy = 0.30;

double share_of(const cpu_time& time) {
  const auto all = time.busy + time.idle + time.steal;
  return all == 0 ? 0.0 : static_cast<double>(time.steal) / static_cast<double>(all);
}

}  // namespace

void check_steal(const examination& of, findings& out) {
  finding found{.id = "steal"};
  if (of.cpu_times.empty()) {
    found.summary = "stolen time cannot be seen";
    found.evidence.push_back(unreadable("/proc/stat"));
    found.cure = "a kernel with /proc mounted shows it";
    out.push_back(std::move(found));
    return;
  }
  double worst = 0;
  unsigned cpu = of.cpu_times.front().cpu;
  std::string ticks;
  for (const auto& each : of.cpu_times) {
    if (share_of(each) > worst) {
      worst = share_of(each);
      cpu = each.cpu;
    }
    if (each.cpu < 16)
      ticks += fmt::format("{}cpu{} {}", ticks.empty() ? "" : ", ", each.cpu, each.steal);
  }
  if (of.cpu_times.size() > 16) ticks += fmt::format(", ... ({} CPUs)", of.cpu_times.size());
  found.verdict = worst >= heavy ? health::fail : worst >= noticeable ? health::warn : health::pass;
  found.summary = fmt::format("since boot {} of CPU {}'s time was stolen, the most of all",
                              share_text(worst), cpu);
  if (worst == 0) found.summary = "no time was stolen since boot";
  cite(found, "/proc/stat steal, in ticks of 10 ms", ticks);
  if (found.verdict != health::pass)
    found.cure =
        "the host has more vCPUs ready than CPUs: fewer guests, more weight (xl sched-credit2) "
        "or CPUs of its own (cpus= in xl.cfg)";
  out.push_back(std::move(found));
}

}  // namespace xenpv::diag
