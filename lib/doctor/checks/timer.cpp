// Checks whether the PV timer provides the clock events of each vCPU, and what its minimum delay
// is. On ARM, the right timer is the CPU's generic timer, which Xen virtualizes
// (drivers/clocksource/arm_arch_timer.c, xen/arch/arm/vtimer.c); there is no PV timer.
//
// Before Linux 3.11, sysfs has no clockevents (501f867064e9). There, rows timerN prove
// the PV timer: the kernel binds VIRQ_TIMER only for it (xen_setup_timer in arch/x86/xen/time.c),
// and logs "installing Xen timer for CPU N". Its rating is the highest, so it is used.
#include <algorithm>

#include "base/words.hpp"
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
  cite_row(result, snapshot, "LOC");
}

std::string all_cpus(std::size_t count) {
  return count == 1 ? std::string("the only CPU") : fmt::format("all {} CPUs", count);
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
    cite(result, source, fmt::format("{} on {}", pv_timer, named_cpus(snapshot.online)));
    conclude(result, health::pass,
             fmt::format("the PV timer drives {}", all_cpus(snapshot.online.size())));
    // LOC counts interrupts from the (emulated) local APIC timer.
    const auto* row = row_of(snapshot, "LOC");
    if (const auto local = row == nullptr ? 0 : row->total(); local > 0) {
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
      fmt::format("{} {} the timer '{}' instead of the PV timer: the hypervisor emulates each tick",
                  named_cpus(without), without.size() == 1 ? "uses" : "use", others),
      snapshot.channels.delivery == channels::upcall::pci_interrupt
          ? "the PV timer requires the callback vector: see row upcall"
          : "look for \"installing Xen timer\" in the kernel log");
  cite(result, source, fmt::format("{} on {}", others, named_cpus(without)));
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
              unreadable("/proc/timer_list"),
              snapshot.is_capture ? "a capture with /proc/timer_list, made as root, shows it"
                                  : "run as root");
}

/// Returns the CPUs whose row timerN has counts.
std::vector<unsigned> cpus_with_rows(const guest_snapshot& snapshot) {
  std::vector<unsigned> out;
  for (const auto& channel : snapshot.channels.channels)
    if (channel.kind == channels::channel_kind::timer && channel.of_cpu && channel.total() > 0)
      out.push_back(*channel.of_cpu);
  std::ranges::sort(out);
  return out;
}

/// Returns the CPUs for which the kernel logged that it installs the PV timer.
std::vector<unsigned> timer_cpus_in_log(const guest_snapshot& snapshot) {
  constexpr std::string_view start = "installing Xen timer for CPU ";
  std::vector<unsigned> out;
  for (const auto& line : snapshot.log.lines)
    if (line.starts_with(start))
      if (const auto cpu = parse_whole<unsigned>(trim(std::string_view(line).substr(start.size()))))
        out.push_back(*cpu);
  std::ranges::sort(out);
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

/// Judges by the kernel log alone. The kernel uses the timer that it installs, because no other has
/// a higher rating.
void judge_log(const guest_snapshot& snapshot, check_result& result) {
  const auto cpus = timer_cpus_in_log(snapshot);
  if (cpus.empty()) {
    result.evidence.push_back(log_quote(snapshot.log, "installing Xen timer"));
    return conclude(result, health::unknown, "the CPUs' timer cannot be determined",
                    remedy_for_interrupts(snapshot));
  }
  cite(result, "kernel log, \"installing Xen timer\"", named_cpus(cpus));
  const bool covers_all = !snapshot.online.empty() && std::ranges::includes(cpus, snapshot.online);
  conclude(result, covers_all ? health::pass : health::unknown,
           fmt::format("the kernel installed the PV timer on {} when it booted{}", named_cpus(cpus),
                       covers_all ? "" : "; the timers of other CPUs cannot be determined"),
           covers_all ? ""
                      : "the rest of the kernel log, and rows timerN and LOC of "
                        "/proc/interrupts show them");
}

/// Judges by the rows of /proc/interrupts, or by the kernel log if the rows do not suffice.
/// XenLinux has no APIC timer, and no row LOC; excerpts may lack it.
void judge_rows(const guest_snapshot& snapshot, check_result& result) {
  const auto cpus = cpus_with_rows(snapshot);
  const auto* local = row_of(snapshot, "LOC");
  const bool is_local_used = local != nullptr && local->total() > 0;
  cite(result, "/sys/devices/system/clockevents", "cannot be read");
  if (!is_local_used && !cpus.empty() && std::ranges::includes(cpus, snapshot.online))
    return conclude(
        result, health::pass,
        fmt::format("the PV timer drives {}: {}", all_cpus(cpus.size()),
                    local != nullptr || channels::is_xenlinux(*snapshot.from.interrupts.value)
                        ? "only rows timerN count"
                        : "rows timerN count"));
  if (is_local_used && !cpus.empty())
    return conclude(result, health::unknown, "the CPUs' timer cannot be determined",
                    "compare the growth of rows timerN and LOC in /proc/interrupts over a few "
                    "seconds: one of them is the timer");
  if (!timer_cpus_in_log(snapshot).empty()) return judge_log(snapshot, result);
  if (!cpus.empty())
    return conclude(
        result, health::unknown,
        fmt::format("the PV timer drives {}; the timers of other CPUs cannot be determined",
                    named_cpus(cpus)),
        "rows timerN and LOC of the complete /proc/interrupts show them");
  conclude(result, health::unknown, "the CPUs' timer cannot be determined",
           snapshot.is_capture
               ? "rows timerN and LOC of the complete /proc/interrupts show the timer"
               : "mount sysfs; before Linux 3.11, which lacks these files, rows timerN and LOC of "
                 "/proc/interrupts show the timer");
}

void check_arm_timer(const guest_snapshot& snapshot, check_results& out) {
  constexpr std::string_view generic = "arch_sys_timer";
  check_result result{.id = "timer"};
  std::vector<unsigned> others;
  std::string names;
  for (const auto& event : snapshot.clock.events) {
    if (event.device == generic) continue;
    others.push_back(event.number);
    if (names.find(event.device) == std::string::npos)
      names += (names.empty() ? "" : ", ") + event.device;
  }
  const channels::interrupt_row* row = nullptr;
  if (snapshot.from.interrupts.value)
    for (const auto& candidate : snapshot.from.interrupts.value->rows)
      if (std::ranges::count(candidate.actions, "arch_timer") > 0) row = &candidate;
  cite(result, "/sys/devices/system/clockevents/clockevent*/current_device",
       snapshot.clock.events.empty() ? "cannot be read"
       : others.empty()              ? std::string(generic)
                                     : names);
  if (snapshot.from.interrupts.value)
    cite(result, "/proc/interrupts arch_timer",
         row == nullptr ? "absent" : counts_text(row->counts));
  // arch_timer_banner() in drivers/clocksource/arm_arch_timer.c.
  const auto* log_line = snapshot.log.find("arch_timer: cp15 timer");
  if (log_line != nullptr) cite(result, "kernel log", *log_line);
  if (!others.empty())
    conclude(result, health::warn,
             fmt::format("{} {} the timer '{}' instead of the CPU's generic timer",
                         named_cpus(others), others.size() == 1 ? "uses" : "use", names),
             "look for arch_timer in the kernel log, and for the node timer in the device tree");
  else if (!snapshot.clock.events.empty() || (row != nullptr && row->total() > 0) ||
           log_line != nullptr)
    conclude(result, health::pass,
             "the CPU's generic timer, which Xen virtualizes; ARM domains have no PV timer");
  else
    conclude(result, health::unknown, "the CPUs' timer cannot be determined",
             snapshot.is_capture ? "row arch_timer of /proc/interrupts shows it" : "mount sysfs");
  out.push_back(std::move(result));
}

}  // namespace

void check_timer(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.identity.machine == architecture::arm) return check_arm_timer(snapshot, out);
  if (snapshot.clock.events.empty()) {
    check_result result{.id = "timer"};
    if (snapshot.from.interrupts.value)
      judge_rows(snapshot, result);
    else
      judge_log(snapshot, result);
    quote_rows(snapshot, result);
    out.push_back(std::move(result));
    return check_slop(snapshot, out);
  }
  check_result result{.id = "timer"};
  judge_devices(snapshot, result);
  quote_rows(snapshot, result);
  quote_call(snapshot, result);
  out.push_back(std::move(result));
  check_slop(snapshot, out);
}

}  // namespace xenpv::doctor
