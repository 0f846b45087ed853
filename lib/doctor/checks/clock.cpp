// Checks the clocksource, the cost of a clock read, and whether a clock read is a system call. Also
// runs outside Xen.
#include <algorithm>
#include <array>
#include <utility>

#include "base/words.hpp"
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

using std::chrono::nanoseconds;

/// Above this limit, reading the clock for every request costs more than the request itself.
constexpr nanoseconds expensive{1000};

constexpr const char* folder = "/sys/devices/system/clocksource/clocksource0";

bool is_available(const probe::clock_facts& clock, std::string_view name) {
  return std::ranges::count(clock.available_clocksources, name) > 0;
}

quote tsc_quote(const xen::cpuid_facts& cpuid) {
  return {
      "CPUID base+3 (time)",
      fmt::format("TSC {}, host TSC {}, tsc_mode {}", cpuid.tsc_is_emulated ? "emulated" : "native",
                  cpuid.host_tsc_is_safe ? "safe" : "not safe", cpuid.tsc_mode)};
}

void judge_tsc(const guest_snapshot& snapshot, check_result& result) {
  conclude(result, health::pass, "the clock is the TSC");
  if (!snapshot.on_xen()) return;
  if (!snapshot.cpuid) {
    result.verdict = health::unknown;
    result.summary += ", but whether this host keeps it synchronized cannot be determined";
    result.remedy = "run xenpv-doctor in the guest itself, on x86";
  } else if (snapshot.cpuid->tsc_is_emulated) {
    result.verdict = health::warn;
    result.summary += ", which the hypervisor emulates: each read causes a VM exit";
    result.remedy =
        "set tsc_mode=\"native\" in the guest's configuration if the guest never migrates to a "
        "host with a different TSC; otherwise, use clocksource=xen";
  } else if (!snapshot.cpuid->host_tsc_is_safe) {
    result.verdict = health::warn;
    result.summary += ", which this host does not keep synchronized on all CPUs";
    result.remedy = fmt::format("echo xen > {}/current_clocksource", folder);
  } else {
    result.summary += ", native and synchronized on this host";
    result.remedy =
        "use clocksource xen if the guest may migrate to a host with a different TSC frequency";
  }
}

/// Returns the clocksource in use when the log ended: "Switched to clocksource xen", or "Switching
/// to clocksource xen" before Linux 3.2; the watchdog also names it (kernel/time/clocksource.c).
std::optional<std::pair<std::string, std::string>> source_in_log(const kernel_log& log) {
  constexpr auto verbs =
      std::to_array<std::string_view>({"Switched to clocksource ", "Switching to clocksource "});
  for (auto line = log.lines.rbegin(); line != log.lines.rend(); ++line) {
    for (const auto verb : verbs)
      if (const auto start = line->find(verb); start != std::string::npos)
        return std::pair(std::string(trim(std::string_view(*line).substr(start + verb.size()))),
                         *line);
    constexpr std::string_view current = "is current clocksource";
    const auto quote = line->find('\'');
    const auto end = quote == std::string::npos ? quote : line->find('\'', quote + 1);
    if (line->find(current) != std::string::npos && end != std::string::npos)
      return std::pair(line->substr(quote + 1, end - quote - 1), *line);
  }
  return std::nullopt;
}

void judge_source(const guest_snapshot& snapshot, const std::string& source, check_result& result) {
  if (source == "xen") {
    conclude(result, health::pass, "the clock is Xen's PV clock");
  } else if (source == "tsc") {
    judge_tsc(snapshot, result);
  } else if (!snapshot.on_xen()) {
    const bool is_good = source == "kvm-clock" || source == "hyperv_clocksource_tsc_page" ||
                         source == "arch_sys_counter";
    conclude(result, is_good ? health::pass : health::warn, fmt::format("the clock is {}", source),
             is_good ? "" : "this clocksource is emulated or slow; tsc would be faster");
  } else if (source == "arch_sys_counter") {
    conclude(result, health::pass, "the clock is the ARM counter");
  } else {
    conclude(
        result, health::fail,
        fmt::format(
            "the clock is '{}', a device that the hypervisor emulates: each read causes a VM exit",
            source),
        is_available(snapshot.clock, "xen")
            ? fmt::format("echo xen > {}/current_clocksource, and remove clocksource= from the "
                          "kernel command line",
                          folder)
            : "the kernel does not offer 'xen', which depends on the upcall in HVM guests: see row "
              "upcall");
  }
}

void check_source_in_log(const guest_snapshot& snapshot, check_results& out) {
  const auto found = source_in_log(snapshot.log);
  if (!found)
    return add_unknown(out, "clocksource", "the clocksource cannot be determined",
                       unreadable(fmt::format("{}/current_clocksource", folder)),
                       snapshot.is_capture ? "that file shows it, or the line \"Switched to "
                                             "clocksource\" of the kernel log"
                                           : "mount sysfs");
  check_result result{.id = "clocksource"};
  judge_source(snapshot, found->first, result);
  result.summary += " (according to the kernel log)";
  cite(result, "kernel log", found->second);
  out.push_back(std::move(result));
}

void check_source(const guest_snapshot& snapshot, check_results& out) {
  if (!snapshot.clock.clocksource) return check_source_in_log(snapshot, out);
  check_result result{.id = "clocksource"};
  judge_source(snapshot, *snapshot.clock.clocksource, result);
  cite(result, fmt::format("{}/current_clocksource", folder), *snapshot.clock.clocksource);
  cite(result, fmt::format("{}/available_clocksource", folder),
       fmt::format("{}", fmt::join(snapshot.clock.available_clocksources, " ")));
  if (snapshot.cpuid) result.evidence.push_back(tsc_quote(*snapshot.cpuid));
  if (const auto* line = snapshot.log.find_last("Switched to clocksource"))
    cite(result, "kernel log", *line);
  out.push_back(std::move(result));
}

std::string remedy_for_cost(const guest_snapshot& snapshot) {
  const bool tsc_is_good =
      snapshot.cpuid && !snapshot.cpuid->tsc_is_emulated && snapshot.cpuid->host_tsc_is_safe;
  if (snapshot.on_xen() && tsc_is_good && is_available(snapshot.clock, "tsc") &&
      snapshot.clock.clocksource != "tsc")
    return fmt::format(
        "this host's TSC is native and safe: echo tsc > {}/current_clocksource makes clock reads "
        "cheap; do not use it in a guest that migrates between hosts with different TSCs",
        folder);
  if (snapshot.cpuid && snapshot.cpuid->tsc_is_emulated)
    return "the hypervisor emulates the TSC (CPUID): use a host with an invariant TSC, or set "
           "tsc_mode=\"native\" in the guest's configuration";
  if (snapshot.on_xen())
    return "the vDSO can read the PV clock only if the host's TSC is marked stable (Xen options "
           "tsc=stable:socket, clocksource=tsc)";
  return "a clocksource that the vDSO can read (tsc) would be cheaper";
}

void check_cost(const guest_snapshot& snapshot, check_results& out) {
  if (!snapshot.cost)
    return add_unknown(out, "clock-read", "the cost of a clock read was not measured",
                       {"clock_gettime(CLOCK_MONOTONIC)", "not in the capture"},
                       "run xenpv-doctor in the guest itself");
  check_result result{.id = "clock-read"};
  const auto read = snapshot.cost->read;
  cite(result, "clock_gettime(CLOCK_MONOTONIC), median", fmt::format("{} ns", read.count()));
  cite(result, "clock_gettime as a bare system call, median",
       fmt::format("{} ns", snapshot.cost->system_call.count()));
  const auto in_vdso = snapshot.clock_in_vdso;
  cite(result, "clock_gettime() with the system call blocked (seccomp)",
       !in_vdso   ? "could not be tested"
       : *in_vdso ? "works: vDSO"
                  : "fails: it is a system call");
  const bool is_call = in_vdso ? !*in_vdso : !snapshot.cost->is_vdso();
  result.verdict = is_call || read >= expensive ? health::warn : health::pass;
  result.summary = fmt::format("a clock read takes {} ns{}", read.count(),
                               is_call ? " because it is a system call" : " in user space (vDSO)");
  if (result.verdict == health::warn) result.remedy = remedy_for_cost(snapshot);
  out.push_back(std::move(result));
}

}  // namespace

void check_clock(const guest_snapshot& snapshot, check_results& out) {
  check_source(snapshot, out);
  check_cost(snapshot, out);
}

}  // namespace xenpv::doctor
