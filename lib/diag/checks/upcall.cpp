// How events come into the guest: the PV callback, a vector on each vCPU, or one PCI interrupt for
// all of them on CPU 0 (evtchn is then hardly better than an emulated device).
#include <algorithm>

#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

constexpr const char* switched_off = "xen_no_vector_callback";

std::string cure_of_pci(const examination& of) {
  if (of.was_booted_with(switched_off))
    return fmt::format("take {} off the kernel's command line and boot again", switched_off);
  return "the hypervisor offers no callback vector (XENFEAT_hvm_callback_vector); a Xen of 4.0 or "
         "newer, and a kernel with CONFIG_XEN_PVHVM, do";
}

void judge_vector(const examination& of, const interrupt_table& table, finding& found) {
  const auto* row = table.find("HYP");
  cite(found, "/proc/interrupts HYP", counts_text(row->counts));
  found.evidence.push_back(log_quote(of.log, "callback vector for event delivery"));
  std::vector<unsigned> silent;
  for (std::size_t i = 0; i < row->counts.size(); ++i)
    if (row->counts[i] == 0) silent.push_back(table.cpus[i]);
  found.verdict = silent.empty() ? health::pass : health::warn;
  found.summary = "events come by a callback vector on each vCPU";
  if (silent.empty()) return;
  found.summary = fmt::format("a callback vector is in use, but no event ever came to CPU {}",
                              cpus_text(silent));
  found.cure = "a vCPU that gets no events has neither PV timer nor PV IPIs: compare its timer row";
}

void judge_pci(const examination& of, const interrupt_table& table, finding& found) {
  found.verdict = health::fail;
  found.summary = "events come by a PCI interrupt: all to one CPU, without PV timers or PV IPIs";
  cite(found, "/proc/interrupts HYP", "absent");
  for (const auto& row : table.rows)
    if (row.name().find("xen-platform-pci") != std::string::npos)
      cite(found, "/proc/interrupts xen-platform-pci", counts_text(row.counts));
  if (of.was_booted_with(switched_off)) cite(found, "/proc/cmdline", switched_off);
  found.cure = cure_of_pci(of);
}

/// Linux 6.0 and newer ask for a vector of each vCPU where CPUID offers it, and say nothing of it.
/// Those with the hotplug state "xen:starting" made it when the request had succeeded
/// (xen_init_setup_upcall_vector).
void check_per_vcpu(const examination& of, findings& out) {
  constexpr const char* state = "xen:starting";
  finding found{.id = "upcall-vcpu"};
  const bool has_state = of.hotplug_states && of.hotplug_states->find(state) != std::string::npos;
  cite(found, "CPUID base+4 EAX bit 6 (XEN_HVM_CPUID_UPCALL_VECTOR)",
       !of.cpuid                     ? "not known here"
       : of.cpuid->has_upcall_vector ? "1"
                                     : "0");
  if (of.hotplug_states)
    cite(found, "/sys/devices/system/cpu/hotplug/states",
         has_state ? state : fmt::format("no {}", state));
  if (has_state) {
    found.verdict = health::pass;
    found.summary = "each vCPU has an upcall vector of its own (HVMOP_set_evtchn_upcall_vector)";
  } else if (of.cpuid && !of.cpuid->has_upcall_vector) {
    found.verdict = health::pass;
    found.summary = "this Xen offers no upcall vector of each vCPU: all share one callback vector";
  } else {
    found.summary = of.cpuid ? "Xen offers an upcall vector of each vCPU, but the kernel does not "
                               "show whether it uses it"
                             : "whether each vCPU has an upcall vector of its own cannot be seen";
    found.cure =
        "Linux 6.0 or newer uses it where it is offered; nothing to do unless events are "
        "slow on HVM";
  }
  out.push_back(std::move(found));
}

}  // namespace

void check_upcall(const examination& of, findings& out) {
  finding found{.id = "upcall"};
  if (lacks_interrupts(of, "how events come in cannot be seen", found, out)) return;
  const auto& table = *of.from.interrupts.value;
  switch (of.channels.delivery) {
    case upcall::callback:
      found.verdict = health::pass;
      found.summary = "events come by the PV callback, which each vCPU has";
      cite(found, "/sys/hypervisor/guest_type", "PV");
      break;
    case upcall::vector:
      judge_vector(of, table, found);
      break;
    case upcall::pci_interrupt:
      judge_pci(of, table, found);
      break;
    case upcall::unknown:
      found.summary = "neither the row HYP nor an interrupt of xen-platform-pci is there";
      cite(found, "/proc/interrupts", "no HYP, no xen-platform-pci");
      found.cure = "on ARM there is no such row; elsewhere boot a kernel with CONFIG_XEN_PVHVM";
      break;
  }
  const auto how = of.channels.delivery;
  out.push_back(std::move(found));
  if (how == upcall::vector) check_per_vcpu(of, out);
}

}  // namespace xenpv::diag
