// The clock: which source, what a look at it costs, and whether that is a system call. Also off
// Xen.
#include <algorithm>

#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

using std::chrono::nanoseconds;

/// Above this, whoever looks at the clock for every request pays more for it than for the request.
constexpr nanoseconds dear{1000};

constexpr const char* folder = "/sys/devices/system/clocksource/clocksource0";

std::string available_text(const clock_facts& clock) {
  std::string out;
  for (const auto& each : clock.available_clocksources)
    out += (out.empty() ? "" : " ") + each;
  return out;
}

bool is_available(const clock_facts& clock, std::string_view name) {
  const auto& all = clock.available_clocksources;
  return std::find(all.begin(), all.end(), name) != all.end();
}

quote tsc_quote(const xen::cpuid_facts& cpuid) {
  return {
      "CPUID base+3 (time)",
      fmt::format("TSC {}, host TSC {}, tsc_mode {}", cpuid.tsc_is_emulated ? "emulated" : "native",
                  cpuid.host_tsc_is_safe ? "safe" : "not safe", cpuid.tsc_mode)};
}

void judge_tsc(const examination& of, finding& found) {
  found.verdict = health::pass;
  found.summary = "the clock is the TSC";
  if (!of.on_xen()) return;
  if (!of.cpuid) {
    found.verdict = health::unknown;
    found.summary += ", and whether this host keeps it in step cannot be seen";
    found.cure = "start on x86, in the guest itself";
  } else if (of.cpuid->tsc_is_emulated) {
    found.verdict = health::warn;
    found.summary += ", which the hypervisor emulates: each look at it leaves the guest";
    found.cure =
        "tsc_mode=\"native\" in the guest's configuration, if it never moves to a host with "
        "another TSC; or clocksource=xen";
  } else if (!of.cpuid->host_tsc_is_safe) {
    found.verdict = health::warn;
    found.summary += ", which this host does not keep in step on all CPUs";
    found.cure = fmt::format("echo xen > {}/current_clocksource", folder);
  } else {
    found.summary += ", native and in step on this host";
    found.cure = "a guest that moves to a host with another TSC frequency is safer with xen";
  }
}

void judge_source(const examination& of, finding& found) {
  const auto& source = *of.clock.clocksource;
  if (source == "xen") {
    found.verdict = health::pass;
    found.summary = "the clock is Xen's PV clock";
  } else if (source == "tsc") {
    judge_tsc(of, found);
  } else if (!of.on_xen()) {
    found.verdict = source == "kvm-clock" || source == "hyperv_clocksource_tsc_page" ||
                            source == "arch_sys_counter"
                        ? health::pass
                        : health::warn;
    found.summary = fmt::format("the clock is {}", source);
    if (found.verdict == health::warn)
      found.cure = "an emulated or slow clock; tsc would be quicker";
  } else if (source == "arch_sys_counter") {
    found.verdict = health::pass;
    found.summary = "the clock is the ARM counter";
  } else {
    found.verdict = health::fail;
    found.summary = fmt::format(
        "the clock is '{}', a device the hypervisor emulates: each look at "
        "it leaves the guest",
        source);
    found.cure = is_available(of.clock, "xen")
                     ? fmt::format(
                           "echo xen > {}/current_clocksource, and see that no "
                           "clocksource= stands on the kernel's command line",
                           folder)
                     : "the kernel does not offer 'xen': see upcall, which it needs in HVM guests";
  }
}

void check_source(const examination& of, findings& out) {
  finding found{.id = "clocksource"};
  if (!of.clock.clocksource) {
    found.summary = "the clocksource cannot be seen";
    found.evidence.push_back(unreadable(fmt::format("{}/current_clocksource", folder)));
    found.cure = "a kernel with sysfs mounted shows it";
    out.push_back(std::move(found));
    return;
  }
  judge_source(of, found);
  cite(found, fmt::format("{}/current_clocksource", folder), *of.clock.clocksource);
  cite(found, fmt::format("{}/available_clocksource", folder), available_text(of.clock));
  if (of.cpuid) found.evidence.push_back(tsc_quote(*of.cpuid));
  if (const auto* line = of.log.find_last("Switched to clocksource"))
    cite(found, "kernel log", *line);
  out.push_back(std::move(found));
}

std::string cure_of_cost(const examination& of) {
  const bool tsc_is_good = of.cpuid && !of.cpuid->tsc_is_emulated && of.cpuid->host_tsc_is_safe;
  if (of.on_xen() && tsc_is_good && is_available(of.clock, "tsc") && of.clock.clocksource != "tsc")
    return fmt::format(
        "this host's TSC is native and safe: echo tsc > {}/current_clocksource makes it "
        "cheap; not for a guest that migrates between hosts with different TSCs",
        folder);
  if (of.cpuid && of.cpuid->tsc_is_emulated)
    return "the hypervisor emulates the TSC (CPUID): a host with an invariant TSC, or "
           "tsc_mode=\"native\" in the guest's configuration, would change that";
  if (of.on_xen())
    return "the vDSO reads the PV clock only where the host's TSC is marked stable (Xen's option "
           "tsc=stable:socket, clocksource=tsc)";
  return "a clocksource that the vDSO can read (tsc) would be cheaper";
}

void check_cost(const examination& of, findings& out) {
  finding found{.id = "clock-read"};
  if (!of.cost) {
    found.summary = "what a look at the clock costs was not measured";
    cite(found, "clock_gettime(CLOCK_MONOTONIC)", "not in the capture");
    found.cure = "start in the guest itself";
    out.push_back(std::move(found));
    return;
  }
  const auto read = of.cost->read;
  cite(found, "clock_gettime(CLOCK_MONOTONIC), median", fmt::format("{} ns", read.count()));
  cite(found, "the same as a system call, median",
       fmt::format("{} ns", of.cost->system_call.count()));
  const auto in_vdso = of.clock_in_vdso;
  cite(found, "clock_gettime() where the system call is forbidden (seccomp)",
       !in_vdso   ? "could not be tried"
       : *in_vdso ? "works: vDSO"
                  : "fails: it is a system call");
  const bool is_call = in_vdso ? !*in_vdso : !of.cost->is_vdso();
  found.verdict = is_call || read >= dear ? health::warn : health::pass;
  found.summary = fmt::format("a look at the clock takes {} ns{}", read.count(),
                              is_call ? ", because it is a system call" : " in user space (vDSO)");
  if (found.verdict == health::warn) found.cure = cure_of_cost(of);
  out.push_back(std::move(found));
}

}  // namespace

void check_clock(const examination& of, findings& out) {
  check_source(of, out);
  check_cost(of, out);
}

}  // namespace xenpv::diag
