// Checks how events are delivered to the guest: through the PV callback, through a vector on each
// vCPU, or through a single PCI interrupt on CPU 0 for all vCPUs. With the PCI interrupt, event
// channels are hardly faster than an emulated device. On ARM, each vCPU has a private interrupt
// (xen_arm_callback in arch/arm/xen/enlighten.c).
#include <algorithm>

#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

std::string remedy_for_pci(const guest_snapshot& snapshot) {
  if (snapshot.was_booted_with(boot_option::no_vector_callback))
    return fmt::format("remove {} from the kernel command line and reboot",
                       to_string(boot_option::no_vector_callback));
  return "the hypervisor offers no callback vector (XENFEAT_hvm_callback_vector); Xen 4.0 or newer "
         "and a kernel with CONFIG_XEN_PVHVM are required";
}

/// The kernel's message about the vector (drivers/xen/events/events_base.c).
constexpr const char* vector_message = "callback vector for event delivery is enabled";

/// Judges by the rows of the timers and IPIs. These arrive on a CPU above 0 only with a vector or
/// the PV callback, and on any CPU only if the kernel has one of them. An excerpt may lack rows.
void judge_local_rows(const guest_snapshot& snapshot, std::string_view method,
                      check_result& result) {
  std::vector<std::uint64_t> sums(snapshot.channels.cpus.size());
  for (const auto& channel : snapshot.channels.channels)
    if (channel.of_cpu) channels::add_counts(sums, channel.counts);
  std::vector<unsigned> cpus;
  for (std::size_t i = 0; i < sums.size(); ++i)
    if (sums[i] > 0) cpus.push_back(snapshot.channels.cpus[i]);
  cite(result, "/proc/interrupts xen-percpu, by CPU", counts_text(sums));
  conclude(result, health::pass,
           cpus.size() == sums.size()
               ? fmt::format("events arrive on each vCPU, through {}", method)
               : fmt::format("events arrive on {}, through {}; no row shows events of other CPUs",
                             named_cpus(cpus), method));
}

void judge_vector(const guest_snapshot& snapshot, const channels::interrupt_table& table,
                  check_result& result) {
  const auto* row = table.find("HYP");
  if (row == nullptr || row->total() == 0)
    return judge_local_rows(snapshot, "a callback vector", result);
  cite(result, "/proc/interrupts HYP", counts_text(row->counts));
  result.evidence.push_back(log_quote(snapshot.log, "callback vector for event delivery"));
  std::vector<unsigned> without_events;
  for (std::size_t i = 0; i < row->counts.size(); ++i)
    if (row->counts[i] == 0) without_events.push_back(table.cpus[i]);
  if (without_events.empty())
    return conclude(result, health::pass, "events arrive through a callback vector on each vCPU");
  conclude(result, health::warn,
           fmt::format("a callback vector is in use, but no event has arrived on {}",
                       named_cpus(without_events)),
           "a vCPU that receives no events has neither a PV timer nor PV IPIs: check its timer row "
           "in /proc/interrupts");
}

void judge_pci(const guest_snapshot& snapshot, const channels::interrupt_table& table,
               check_result& result) {
  conclude(result, health::fail,
           "events arrive through a PCI interrupt: all on one CPU, without PV timers or PV IPIs",
           remedy_for_pci(snapshot));
  cite(result, "/proc/interrupts HYP", "absent");
  for (const auto& row : table.rows)
    if (row.name().find("xen-platform-pci") != std::string::npos)
      cite(result, "/proc/interrupts xen-platform-pci", counts_text(row.counts));
  if (snapshot.was_booted_with(boot_option::no_vector_callback))
    cite(result, "/proc/cmdline", to_string(boot_option::no_vector_callback));
}

/// Linux 6.0 and newer request a vector for each vCPU if CPUID offers it, but do not log the
/// request. The hotplug state "xen:starting" shows that the request succeeded, because the kernel
/// creates the state afterwards (xen_init_setup_upcall_vector).
void check_per_vcpu(const guest_snapshot& snapshot, check_results& out) {
  constexpr const char* state = "xen:starting";
  check_result result{.id = "upcall-vcpu"};
  const bool has_state =
      snapshot.hotplug_states && snapshot.hotplug_states->find(state) != std::string::npos;
  cite(result, "CPUID base+4 EAX bit 6 (XEN_HVM_CPUID_UPCALL_VECTOR)",
       !snapshot.cpuid                     ? "not available"
       : snapshot.cpuid->has_upcall_vector ? "1"
                                           : "0");
  if (snapshot.hotplug_states)
    cite(result, "/sys/devices/system/cpu/hotplug/states",
         has_state ? state : fmt::format("no {}", state));
  if (has_state) {
    conclude(result, health::pass,
             "each vCPU has its own upcall vector (HVMOP_set_evtchn_upcall_vector)");
  } else if (snapshot.cpuid && !snapshot.cpuid->has_upcall_vector) {
    conclude(
        result, health::pass,
        "this Xen does not offer per-vCPU upcall vectors: all vCPUs share one callback vector");
  } else {
    conclude(result, health::unknown,
             snapshot.cpuid ? "Xen offers per-vCPU upcall vectors, but the kernel does not show "
                              "whether it uses them"
                            : "whether each vCPU has its own upcall vector cannot be determined",
             "Linux 6.0 or newer uses per-vCPU vectors if Xen offers them; no action is needed "
             "unless events are slow in an HVM guest");
  }
  out.push_back(std::move(result));
}

/// A CPU without events is normal: no timer and no IPI uses them on ARM.
void judge_arm(const channels::interrupt_table& table, check_result& result) {
  for (const auto& row : table.rows)
    if (row.chip.starts_with("GIC") && std::ranges::count(row.actions, "events") > 0)
      cite(result, fmt::format("/proc/interrupts {} ({} events)", row.label, row.chip),
           counts_text(row.counts));
  conclude(result, health::pass, "events arrive through a private interrupt of each vCPU");
}

void judge_unknown(const guest_snapshot& snapshot, check_result& result) {
  cite(result, "/proc/interrupts",
       snapshot.from.interrupts.value
           ? "no HYP, no xen-platform-pci, and no count of a PV timer or PV IPI"
           : snapshot.from.interrupts.problem);
  // xen_percpu_init() in arch/arm/xen/enlighten.c logs it, and then enables the interrupt.
  const auto* initialized = snapshot.log.find_last("Xen: initializing cpu");
  if (snapshot.identity.machine == architecture::arm && initialized != nullptr) {
    cite(result, "kernel log", *initialized);
    return conclude(result, health::pass, "events arrive through a private interrupt of each vCPU");
  }
  if (const auto* line = snapshot.log.find_last(vector_message)) {
    cite(result, "kernel log", *line);
    return conclude(result, health::pass, "events arrive through a callback vector on each vCPU");
  }
  conclude(result, health::unknown, "event delivery cannot be determined",
           snapshot.identity.machine == architecture::arm
               ? "the row \"events\" of the guest's /proc/interrupts shows it"
               : "rows HYP, timerN and reschedN of the guest's complete /proc/interrupts show it, "
                 "or the kernel log (\"callback vector for event delivery is enabled\")");
}

void judge_callback(const guest_snapshot& snapshot, check_result& result) {
  conclude(result, health::pass, "events arrive through the PV callback of each vCPU");
  if (snapshot.identity.type_source) result.evidence.push_back(*snapshot.identity.type_source);
}

}  // namespace

void check_upcall(const guest_snapshot& snapshot, check_results& out) {
  check_result result{.id = "upcall"};
  const auto delivery = snapshot.channels.delivery;
  if (!snapshot.from.interrupts.value) {
    if (snapshot.from.guest.type == xen::guest_type::pv)
      judge_callback(snapshot, result);
    else
      judge_unknown(snapshot, result);
    if (result.verdict == health::unknown) result.remedy = remedy_for_interrupts(snapshot);
    return out.push_back(std::move(result));
  }
  const auto& table = *snapshot.from.interrupts.value;
  switch (delivery) {
    case channels::upcall::callback:
      judge_callback(snapshot, result);
      break;
    case channels::upcall::vector:
      judge_vector(snapshot, table, result);
      break;
    case channels::upcall::pci_interrupt:
      judge_pci(snapshot, table, result);
      break;
    case channels::upcall::percpu_interrupt:
      judge_arm(table, result);
      break;
    case channels::upcall::per_vcpu:
      judge_local_rows(snapshot, "a callback vector or the PV callback", result);
      break;
    case channels::upcall::unknown:
      judge_unknown(snapshot, result);
      break;
  }
  out.push_back(std::move(result));
  if (delivery == channels::upcall::vector) check_per_vcpu(snapshot, out);
}

}  // namespace xenpv::doctor
