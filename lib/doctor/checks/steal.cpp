// Checks the stolen time: the time during which a vCPU was ready to run but the hypervisor did not
// run it. The verdict depends on a measured interval; the average since boot does not show the
// present state.
//
// Some kernels break the counter after a live migration or a CPU hotplug: it jumps by centuries or
// runs backwards (Debian bug 785557, LP 1494350, telegraf#3885). Such a counter is not judged.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

constexpr double noticeable = 0.05;
constexpr double heavy = 0.30;
/// In a shorter interval, a few ticks are chance, so twice the share is required to warn.
constexpr std::chrono::seconds long_interval{5};
constexpr std::uint64_t user_hz = 100;  ///< ticks per second in /proc/stat
constexpr std::uint64_t seconds_per_day = 86'400;
/// No guest is older than Xen. Only used if the time since boot is unknown.
constexpr std::uint64_t longest_life = std::uint64_t{25} * 365 * seconds_per_day;

struct cpu_share {
  unsigned cpu = 0;
  double share = 0;
};

double share_of(const probe::cpu_time& time) {
  const auto all = time.busy + time.idle + time.steal;
  return all == 0 ? 0.0 : static_cast<double>(time.steal) / static_cast<double>(all);
}

cpu_share worst_of_cpus(const std::vector<probe::cpu_time>& times) {
  cpu_share out{.cpu = times.front().cpu};
  for (const auto& time : times)
    if (share_of(time) > out.share) out = {time.cpu, share_of(time)};
  return out;
}

std::string age_text(std::uint64_t seconds) {
  if (seconds < 7200) return counted(seconds / 60, "minute");
  if (seconds < 2 * seconds_per_day) return counted(seconds / 3600, "hour");
  if (seconds < 730 * seconds_per_day) return counted(seconds / seconds_per_day, "day");
  return counted(seconds / (365 * seconds_per_day), "year");
}

/// A CPU with a broken counter, and the reason.
struct broken_counter {
  unsigned cpu = 0;
  std::string reason = {};
};

std::optional<broken_counter> find_broken(const guest_snapshot& snapshot) {
  const auto limit =
      snapshot.uptime ? static_cast<std::uint64_t>(snapshot.uptime->count()) + 60 : longest_life;
  for (const auto& time : snapshot.cpu_times) {
    const auto stolen = time.steal / user_hz;
    if (stolen <= limit) continue;
    const auto others = (time.busy + time.idle) / user_hz;
    return broken_counter{
        time.cpu, fmt::format("shows {}, but the guest has run for {}", age_text(stolen),
                              snapshot.uptime
                                  ? age_text(static_cast<std::uint64_t>(snapshot.uptime->count()))
                                  : fmt::format("about {}, by its other times", age_text(others)))};
  }
  if (!snapshot.later_times) return std::nullopt;
  const auto ticks = static_cast<std::uint64_t>(snapshot.later_times->interval.count()) /
                     (1'000'000'000 / user_hz);
  for (const auto& later : snapshot.later_times->times)
    for (const auto& first : snapshot.cpu_times) {
      if (first.cpu != later.cpu) continue;
      if (later.steal < first.steal)
        return broken_counter{later.cpu, "ran backwards during the measurement"};
      if (later.steal - first.steal > 2 * ticks + 100)
        return broken_counter{later.cpu, "grew faster than time during the measurement"};
    }
  return std::nullopt;
}

std::vector<probe::cpu_time> times_between(const std::vector<probe::cpu_time>& before,
                                           const std::vector<probe::cpu_time>& after) {
  // The idle time may run backwards by a few ticks (fs/proc/stat.c: get_idle_time).
  const auto growth = [](std::uint64_t from, std::uint64_t to) {
    return to > from ? to - from : 0;
  };
  std::vector<probe::cpu_time> out;
  for (const auto& later : after)
    for (const auto& first : before)
      if (first.cpu == later.cpu)
        out.push_back({.cpu = later.cpu,
                       .busy = growth(first.busy, later.busy),
                       .idle = growth(first.idle, later.idle),
                       .steal = growth(first.steal, later.steal)});
  return out;
}

void cite_ticks(check_result& result, const std::string& source,
                const std::vector<probe::cpu_time>& times) {
  constexpr std::size_t most = 16;
  std::string ticks;
  for (std::size_t i = 0; i < times.size() && i < most; ++i)
    ticks += fmt::format("{}cpu{} {}", i == 0 ? "" : ", ", times[i].cpu, times[i].steal);
  if (times.size() > most) ticks += fmt::format(", ... ({} CPUs)", times.size());
  cite(result, source, ticks);
}

void judge_interval(const guest_snapshot& snapshot, check_result& result) {
  const auto times = times_between(snapshot.cpu_times, snapshot.later_times->times);
  const auto seconds = static_cast<double>(snapshot.later_times->interval.count()) / 1e9;
  const auto [cpu, share] = worst_of_cpus(times);
  const auto average = worst_of_cpus(snapshot.cpu_times).share;
  const bool is_long = snapshot.later_times->interval >= long_interval;
  const auto warning = is_long ? noticeable : 2 * noticeable;
  const auto verdict = share >= heavy     ? health::fail
                       : share >= warning ? health::warn
                                          : health::pass;
  conclude(result, verdict,
           fmt::format("{} of CPU {}'s time was stolen during {:.1f} s, the highest share of all "
                       "CPUs; at most {} since boot",
                       share_text(share), cpu, seconds, share_text(average)),
           verdict == health::pass
               ? ""
               : "the host has more runnable vCPUs than CPUs: run fewer guests, or give this guest "
                 "more weight (xl sched-credit2) or its own CPUs (cpus= in xl.cfg); --measure "
                 "measures longer");
  if (share == 0)
    result.summary = fmt::format("no time was stolen during {:.1f} s; at most {} since boot",
                                 seconds, share_text(average));
  cite_ticks(result, fmt::format("/proc/stat steal during {:.1f} s, in ticks of 10 ms", seconds),
             times);
}

void judge_average(const guest_snapshot& snapshot, check_result& result) {
  const auto [cpu, share] = worst_of_cpus(snapshot.cpu_times);
  if (share < noticeable)
    return conclude(result, health::pass,
                    share == 0 ? "no time was stolen since boot"
                               : fmt::format("{} of CPU {}'s time since boot was stolen, the "
                                             "highest share of all CPUs",
                                             share_text(share), cpu));
  conclude(
      result, health::unknown,
      fmt::format("{} of CPU {}'s time since boot was stolen; whether time is stolen now cannot "
                  "be determined from one sample",
                  share_text(share), cpu),
      "run xenpv-doctor in the guest itself: it measures stolen time over an interval");
}

}  // namespace

void check_steal(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.cpu_times.empty())
    return add_unknown(out, "steal", "stolen time cannot be determined", unreadable("/proc/stat"),
                       snapshot.is_capture ? "a capture with /proc/stat shows it" : "mount /proc");
  check_result result{.id = "steal"};
  const auto broken = find_broken(snapshot);
  if (broken) {
    conclude(result, health::warn,
             fmt::format("CPU {}'s steal counter is wrong, a kernel bug: it {}", broken->cpu,
                         broken->reason),
             "ignore the stolen time that top, sar and monitoring show until a reboot with a newer "
             "kernel (Debian bug 785557)");
  } else if (snapshot.later_times && !snapshot.later_times->times.empty() &&
             !times_between(snapshot.cpu_times, snapshot.later_times->times).empty()) {
    judge_interval(snapshot, result);
  } else {
    judge_average(snapshot, result);
  }
  cite_ticks(result, "/proc/stat steal since boot, in ticks of 10 ms", snapshot.cpu_times);
  if (snapshot.uptime)
    cite(result, "time since boot", age_text(static_cast<std::uint64_t>(snapshot.uptime->count())));
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
