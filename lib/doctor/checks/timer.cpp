// Checks whether the PV timer provides the clock events of each vCPU, and what its minimum delay
// is.
#include <algorithm>

#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

constexpr const char* pv_timer = "xen";
/// TIMER_SLOP in arch/x86/xen/time.c until Linux 6.x: shorter timers are late by design.
constexpr std::uint64_t old_slop_ns = 100'000;

void quote_rows(const guest_snapshot& snapshot, check_result& result) {
  if (!snapshot.from.interrupts.value) return;
  std::string rows;
  unsigned count = 0;
  for (const auto& channel : snapshot.channels.channels) {
    if (channel.kind != channels::channel_kind::timer) continue;
    if (++count <= 8)
      rows += fmt::format("{}{} {}", rows.empty() ? "" : ", ", channel.name, channel.total());
  }
  if (count > 8) rows += fmt::format(", ... ({} rows)", count);
  cite(result, "/proc/interrupts", rows.empty() ? "no row timerN" : rows);
  if (const auto* row = snapshot.from.interrupts.value->find("LOC"))
    cite(result, "/proc/interrupts LOC", counts_text(row->counts));
}

std::vector<unsigned> without_device(const guest_snapshot& snapshot, std::string& others) {
  std::vector<unsigned> out;
  for (const auto cpu : snapshot.online) {
    const auto event = std::ranges::find(snapshot.clock.events, cpu, &probe::clock_event::number);
    const auto device = event == snapshot.clock.events.end() ? std::string("none") : event->device;
    if (device == pv_timer) continue;
    out.push_back(cpu);
    if (others.find(device) == std::string::npos) others += (others.empty() ? "" : ", ") + device;
  }
  return out;
}

void judge_devices(const guest_snapshot& snapshot, check_result& result) {
  std::string others;
  const auto without = without_device(snapshot, others);
  constexpr const char* source = "/sys/devices/system/clockevents/clockevent*/current_device";
  if (without.empty()) {
    cite(result, source, fmt::format("{} on CPUs {}", pv_timer, cpus_text(snapshot.online)));
    conclude(result, health::pass,
             fmt::format("the PV timer drives all {} CPUs", snapshot.online.size()));
    // LOC counts interrupts from the (emulated) local APIC timer.
    if (const auto local = total_of(snapshot, "LOC"); local > 0) {
      result.verdict = health::warn;
      result.summary +=
          fmt::format(", but {} interrupts came from the APIC timer since boot", local);
      result.remedy =
          "these are normal early during boot, but a growing count is not: watch LOC in "
          "/proc/interrupts";
    }
    return;
  }
  conclude(
      result, health::fail,
      fmt::format(
          "CPUs {} use the timer '{}' instead of the PV timer: the hypervisor emulates each tick",
          cpus_text(without), others),
      snapshot.channels.delivery == channels::upcall::pci_interrupt
          ? "the PV timer requires the callback vector: see row upcall"
          : "look for \"installing Xen timer\" in the kernel log");
  cite(result, source, fmt::format("{} on CPUs {}", others, cpus_text(without)));
  if (const auto* line = snapshot.log.find("disable pv timer")) cite(result, "kernel log", *line);
}

/// Cites the hypercall that sets the timer. Xen before 3.4 supports only the old one.
void quote_call(const guest_snapshot& snapshot, check_result& result) {
  for (const auto& device : snapshot.clock.timer_devices) {
    if (!device.cpu || device.name != pv_timer) continue;
    cite(result, fmt::format("/proc/timer_list CPU {} set_next_event", *device.cpu),
         device.set_next_event);
    if (device.set_next_event.starts_with("xen_timerop") && result.verdict == health::pass) {
      result.verdict = health::warn;
      result.summary +=
          ", but through the old hypercall set_timer_op, which has one timer per domain";
      result.remedy = "use a hypervisor with VCPUOP_set_singleshot_timer (Xen 3.4 or newer)";
    }
    return;
  }
}

void check_slop(const guest_snapshot& snapshot, check_results& out) {
  for (const auto& device : snapshot.clock.timer_devices) {
    if (!device.cpu || device.name != pv_timer || !device.min_delta_ns) continue;
    check_result result{.id = "timer-slop", .verdict = health::pass};
    cite(result, fmt::format("/proc/timer_list CPU {} min_delta_ns", *device.cpu),
         fmt::format("{}", *device.min_delta_ns));
    result.summary =
        fmt::format("the minimum delay of the PV timer is {} ns", *device.min_delta_ns);
    if (*device.min_delta_ns >= old_slop_ns) {
      result.summary = fmt::format(
          "timers shorter than {} us are late: the kernel sets the PV timer to at least this delay "
          "(TIMER_SLOP)",
          *device.min_delta_ns / 1000);
      result.remedy =
          "if shorter timers matter, add xen_timer_slop=1000 (ns) to the kernel command line";
    }
    return out.push_back(std::move(result));
  }
  if (!snapshot.clock.timer_devices.empty()) return;  // no PV timer: reported above
  add_unknown(out, "timer-slop", "the minimum delay of the PV timer cannot be determined",
              unreadable("/proc/timer_list"), "run as root");
}

}  // namespace

void check_timer(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.clock.events.empty())
    return add_unknown(out, "timer", "the CPUs' timer cannot be determined",
                       unreadable("/sys/devices/system/clockevents"), "mount sysfs");
  check_result result{.id = "timer"};
  judge_devices(snapshot, result);
  quote_rows(snapshot, result);
  quote_call(snapshot, result);
  out.push_back(std::move(result));
  check_slop(snapshot, out);
}

}  // namespace xenpv::doctor
