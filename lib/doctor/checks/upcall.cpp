// Checks how events are delivered to the guest: through the PV callback, through a vector on each
// vCPU, or through a single PCI interrupt on CPU 0 for all vCPUs. With the PCI interrupt, event
// channels are hardly faster than an emulated device.
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

void judge_vector(const guest_snapshot& snapshot, const channels::interrupt_table& table,
                  check_result& result) {
  const auto* row = table.find("HYP");
  cite(result, "/proc/interrupts HYP", counts_text(row->counts));
  result.evidence.push_back(log_quote(snapshot.log, "callback vector for event delivery"));
  std::vector<unsigned> without_events;
  for (std::size_t i = 0; i < row->counts.size(); ++i)
    if (row->counts[i] == 0) without_events.push_back(table.cpus[i]);
  if (without_events.empty())
    return conclude(result, health::pass, "events arrive through a callback vector on each vCPU");
  conclude(result, health::warn,
           fmt::format("a callback vector is in use, but no event has arrived on CPU {}",
                       cpus_text(without_events)),
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

}  // namespace

void check_upcall(const guest_snapshot& snapshot, check_results& out) {
  if (lacks_interrupts(snapshot, "upcall", "event delivery cannot be determined", out)) return;
  check_result result{.id = "upcall"};
  const auto& table = *snapshot.from.interrupts.value;
  switch (snapshot.channels.delivery) {
    case channels::upcall::callback:
      conclude(result, health::pass, "events arrive through the PV callback of each vCPU");
      cite(result, "/sys/hypervisor/guest_type", "PV");
      break;
    case channels::upcall::vector:
      judge_vector(snapshot, table, result);
      break;
    case channels::upcall::pci_interrupt:
      judge_pci(snapshot, table, result);
      break;
    case channels::upcall::unknown:
      conclude(result, health::unknown,
               "/proc/interrupts has neither row HYP nor an interrupt of xen-platform-pci",
               "this is normal on ARM; elsewhere, boot a kernel with CONFIG_XEN_PVHVM");
      cite(result, "/proc/interrupts", "no HYP, no xen-platform-pci");
      break;
  }
  const auto delivery = snapshot.channels.delivery;
  out.push_back(std::move(result));
  if (delivery == channels::upcall::vector) check_per_vcpu(snapshot, out);
}

}  // namespace xenpv::doctor
