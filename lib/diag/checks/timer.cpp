// The PV timer: whether each vCPU's clock events come from it, and how short a time it can be set
// to.
#include <algorithm>

#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

constexpr const char* pv_timer = "xen";
/// TIMER_SLOP of arch/x86/xen/time.c until Linux 6.x: timers shorter than this are late by design.
constexpr std::uint64_t old_slop_ns = 100'000;

/// Row LOC: interrupts of the (emulated) APIC's timer.
std::uint64_t local_timer_interrupts(const examination& of) {
  const auto* row = of.from.interrupts.value ? of.from.interrupts.value->find("LOC") : nullptr;
  return row == nullptr ? 0 : row->total();
}

void quote_rows(const examination& of, finding& found) {
  if (!of.from.interrupts.value) return;
  std::string rows;
  unsigned count = 0;
  for (const auto& each : of.channels.channels) {
    if (each.kind != channel_kind::timer) continue;
    if (++count <= 8)
      rows += fmt::format("{}{} {}", rows.empty() ? "" : ", ", each.name, each.total());
  }
  if (count > 8) rows += fmt::format(", ... ({} rows)", count);
  cite(found, "/proc/interrupts", rows.empty() ? "no row timerN" : rows);
  if (const auto* row = of.from.interrupts.value->find("LOC"))
    cite(found, "/proc/interrupts LOC", counts_text(row->counts));
}

std::vector<unsigned> without_device(const examination& of, std::string& others) {
  std::vector<unsigned> out;
  for (const auto cpu : of.online) {
    const auto event = std::find_if(of.clock.events.begin(), of.clock.events.end(),
                                    [cpu](const clock_event& each) { return each.number == cpu; });
    if (event != of.clock.events.end() && event->device == pv_timer) continue;
    out.push_back(cpu);
    const auto device = event == of.clock.events.end() ? std::string("none") : event->device;
    if (others.find(device) == std::string::npos) others += (others.empty() ? "" : ", ") + device;
  }
  return out;
}

void judge_devices(const examination& of, finding& found) {
  std::string others;
  const auto without = without_device(of, others);
  constexpr const char* source = "/sys/devices/system/clockevents/clockevent*/current_device";
  if (without.empty()) {
    cite(found, source, fmt::format("{} on CPUs {}", pv_timer, cpus_text(of.online)));
    found.verdict = health::pass;
    found.summary = fmt::format("the PV timer drives all {} CPUs", of.online.size());
    if (const auto local = local_timer_interrupts(of); local > 0) {
      found.verdict = health::warn;
      found.summary +=
          fmt::format(", but {} interrupts came from the APIC's timer since boot", local);
      found.cure =
          "early in the boot these are normal; a count that grows is not: watch LOC in "
          "/proc/interrupts";
    }
    return;
  }
  found.verdict = health::fail;
  found.summary = fmt::format(
      "CPUs {} run on the timer '{}' instead of the PV timer: each tick is "
      "emulated by the hypervisor",
      cpus_text(without), others);
  cite(found, source, fmt::format("{} on CPUs {}", others, cpus_text(without)));
  if (const auto* line = of.log.find("disable pv timer")) cite(found, "kernel log", *line);
  found.cure = of.channels.delivery == upcall::pci_interrupt
                   ? "the PV timer needs the callback vector: see upcall"
                   : "look for \"installing Xen timer\" in the kernel's log";
}

/// The hypercall that sets the timer. The other one is of hypervisors before 3.4.
void quote_call(const examination& of, finding& found) {
  for (const auto& device : of.clock.timer_devices) {
    if (!device.cpu || device.name != pv_timer) continue;
    cite(found, fmt::format("/proc/timer_list CPU {} set_next_event", *device.cpu),
         device.set_next_event);
    if (device.set_next_event.starts_with("xen_timerop") && found.verdict == health::pass) {
      found.verdict = health::warn;
      found.summary += ", by the old hypercall set_timer_op that knows one timer a domain";
      found.cure = "a hypervisor with VCPUOP_set_singleshot_timer (Xen 3.4 or newer) is needed";
    }
    return;
  }
}

void check_slop(const examination& of, findings& out) {
  finding found{.id = "timer-slop"};
  for (const auto& device : of.clock.timer_devices) {
    if (!device.cpu || device.name != pv_timer || !device.min_delta_ns) continue;
    cite(found, fmt::format("/proc/timer_list CPU {} min_delta_ns", *device.cpu),
         fmt::format("{}", *device.min_delta_ns));
    found.verdict = health::pass;
    found.summary = fmt::format("the PV timer can be set {} ns ahead", *device.min_delta_ns);
    if (*device.min_delta_ns >= old_slop_ns) {
      found.summary = fmt::format(
          "timers of less than {} us are late: the kernel does not set the "
          "PV timer to less (TIMER_SLOP)",
          *device.min_delta_ns / 1000);
      found.cure =
          "only if shorter ones matter: xen_timer_slop=1000 (ns) on the kernel's command line";
    }
    out.push_back(std::move(found));
    return;
  }
  if (!of.clock.timer_devices.empty()) return;  // no PV timer: said above
  found.summary = "how short a time the PV timer can be set to cannot be seen";
  found.evidence.push_back(unreadable("/proc/timer_list"));
  found.cure = "start as root";
  out.push_back(std::move(found));
}

}  // namespace

void check_timer(const examination& of, findings& out) {
  finding found{.id = "timer"};
  if (of.clock.events.empty()) {
    found.summary = "which timer the CPUs run on cannot be seen";
    found.evidence.push_back(unreadable("/sys/devices/system/clockevents"));
    found.cure = "a kernel with sysfs mounted shows it";
    out.push_back(std::move(found));
    return;
  }
  judge_devices(of, found);
  quote_rows(of, found);
  quote_call(of, found);
  out.push_back(std::move(found));
  check_slop(of, out);
}

}  // namespace xenpv::diag
