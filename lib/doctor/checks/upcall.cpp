// Event delivery to the guest: the PV callback, a vector on each vCPU, or one PCI interrupt for all
// of them on CPU 0 (evtchn is then hardly better than an emulated device).
#include <algorithm>

#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

constexpr const char* disable_option = "xen_no_vector_callback";

std::string remedy_for_pci(const guest_snapshot& snapshot) {
  if (snapshot.was_booted_with(disable_option))
    return fmt::format("remove {} from the kernel's command line and reboot", disable_option);
  return "the hypervisor offers no callback vector (XENFEAT_hvm_callback_vector); Xen 4.0 or newer "
         "and a kernel with CONFIG_XEN_PVHVM are needed";
}

void judge_vector(const guest_snapshot& snapshot, const channels::interrupt_table& table,
                  check_result& result) {
  const auto* row = table.find("HYP");
  cite(result, "/proc/interrupts HYP", counts_text(row->counts));
  result.evidence.push_back(log_quote(snapshot.log, "callback vector for event delivery"));
  std::vector<unsigned> without_events;
  for (std::size_t i = 0; i < row->counts.size(); ++i)
    if (row->counts[i] == 0) without_events.push_back(table.cpus[i]);
  result.verdict = without_events.empty() ? health::pass : health::warn;
  result.summary = "events arrive through a callback vector on each vCPU";
  if (without_events.empty()) return;
  result.summary = fmt::format("a callback vector is in use, but no event ever came to CPU {}",
                               cpus_text(without_events));
  result.remedy =
      "a vCPU that gets no events has neither PV timer nor PV IPIs: compare its timer row";
}

void judge_pci(const guest_snapshot& snapshot, const channels::interrupt_table& table,
               check_result& result) {
  result.verdict = health::fail;
  result.summary =
      "events arrive through a PCI interrupt: all on one CPU, without PV timers or PV IPIs";
  cite(result, "/proc/interrupts HYP", "absent");
  for (const auto& row : table.rows)
    if (row.name().find("xen-platform-pci") != std::string::npos)
      cite(result, "/proc/interrupts xen-platform-pci", counts_text(row.counts));
  if (snapshot.was_booted_with(disable_option)) cite(result, "/proc/cmdline", disable_option);
  result.remedy = remedy_for_pci(snapshot);
}

/// Linux 6.0 and newer request a vector for each vCPU where CPUID offers it, without logging it.
/// Kernels with the hotplug state "xen:starting" created it after the request succeeded
/// (xen_init_setup_upcall_vector).
void check_per_vcpu(const guest_snapshot& snapshot, check_results& out) {
  constexpr const char* state = "xen:starting";
  check_result result{.id = "upcall-vcpu"};
  const bool has_state =
      snapshot.hotplug_states && snapshot.hotplug_states->find(state) != std::string::npos;
  cite(result, "CPUID base+4 EAX bit 6 (XEN_HVM_CPUID_UPCALL_VECTOR)",
       !snapshot.cpuid                     ? "not known here"
       : snapshot.cpuid->has_upcall_vector ? "1"
                                           : "0");
  if (snapshot.hotplug_states)
    cite(result, "/sys/devices/system/cpu/hotplug/states",
         has_state ? state : fmt::format("no {}", state));
  if (has_state) {
    result.verdict = health::pass;
    result.summary = "each vCPU has its own upcall vector (HVMOP_set_evtchn_upcall_vector)";
  } else if (snapshot.cpuid && !snapshot.cpuid->has_upcall_vector) {
    result.verdict = health::pass;
    result.summary =
        "this Xen offers no upcall vector for each vCPU: all share one callback vector";
  } else {
    result.summary = snapshot.cpuid
                         ? "Xen offers an upcall vector for each vCPU, but the kernel does not "
                           "show whether it uses it"
                         : "whether each vCPU has its own upcall vector cannot be determined";
    result.remedy =
        "Linux 6.0 or newer uses it where it is offered; nothing to do unless events are "
        "slow on HVM";
  }
  out.push_back(std::move(result));
}

}  // namespace

void check_upcall(const guest_snapshot& snapshot, check_results& out) {
  check_result result{.id = "upcall"};
  if (lacks_interrupts(snapshot, "event delivery cannot be determined", result, out)) return;
  const auto& table = *snapshot.from.interrupts.value;
  switch (snapshot.channels.delivery) {
    case channels::upcall::callback:
      result.verdict = health::pass;
      result.summary = "events arrive through the PV callback of each vCPU";
      cite(result, "/sys/hypervisor/guest_type", "PV");
      break;
    case channels::upcall::vector:
      judge_vector(snapshot, table, result);
      break;
    case channels::upcall::pci_interrupt:
      judge_pci(snapshot, table, result);
      break;
    case channels::upcall::unknown:
      result.summary = "there is neither a row HYP nor an interrupt of xen-platform-pci";
      cite(result, "/proc/interrupts", "no HYP, no xen-platform-pci");
      result.remedy = "ARM has no such row; elsewhere boot a kernel with CONFIG_XEN_PVHVM";
      break;
  }
  const auto delivery = snapshot.channels.delivery;
  out.push_back(std::move(result));
  if (delivery == channels::upcall::vector) check_per_vcpu(snapshot, out);
}

}  // namespace xenpv::doctor
