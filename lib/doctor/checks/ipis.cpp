// Checks how IPIs are delivered: through event channels (PV), through the APIC, or on ARM through
// the GIC.
//
// The PV handlers also count in rows RES and CAL (xen_reschedule_interrupt and
// xen_call_function_interrupt in arch/x86/xen/smp.c), so a surplus there is the number of APIC
// IPIs. All counters have 32 bits and wrap. Linux 3.7 to 4.8 prints CAL as calls minus TLB
// shootdowns, modulo 2^32 (arch_show_interrupts, until "x86/irq: Do not substract irq_tlb_count
// from irq_call_count"), so both readings are tried.
#include <algorithm>

#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

using channels::channel_kind;

/// The IPIs of one CPU, or differences of such counts; modulo 2^32.
struct ipi_counts {
  std::uint32_t resched = 0;
  std::uint32_t calls = 0;
};

/// The IPIs that the event-channel rows count.
struct pv_ipis {
  std::vector<unsigned> cpus = {};      ///< CPUs with a resched row
  std::vector<ipi_counts> counts = {};  ///< one per column of the table
};

pv_ipis pv_ipis_of(const channels::inventory& all) {
  pv_ipis out;
  out.counts.resize(all.cpus.size());
  for (const auto& channel : all.channels) {
    if (channel.kind != channel_kind::ipi) continue;
    const bool is_resched = channel.detail == "resched";
    if (!is_resched && !channel.detail.starts_with("callfunc")) continue;
    if (is_resched && channel.of_cpu) out.cpus.push_back(*channel.of_cpu);
    for (std::size_t i = 0; i < channel.counts.size() && i < out.counts.size(); ++i) {
      auto& sum = is_resched ? out.counts[i].resched : out.counts[i].calls;
      sum += static_cast<std::uint32_t>(channel.counts[i]);
    }
  }
  return out;
}

/// IPIs that the kernel counted in addition to the event channels' IPIs.
struct surplus {
  std::uint64_t pv = 0;       ///< the event channels' IPIs
  std::uint64_t others = 0;   ///< the kernel's surplus
  std::uint64_t missing = 0;  ///< the event channels' surplus: the rows contradict each other
};

/// Adds the difference of two counters, which is less than 2^31 unless they contradict each other.
void add_difference(std::uint32_t kernel, std::uint32_t pv, surplus& out) {
  const auto difference = static_cast<std::int32_t>(kernel - pv);
  out.pv += pv;
  if (difference >= 0)
    out.others += static_cast<std::uint64_t>(difference);
  else
    out.missing += static_cast<std::uint64_t>(-static_cast<std::int64_t>(difference));
}

std::uint32_t count_at(const channels::interrupt_row* row, std::size_t column) {
  return row == nullptr || column >= row->counts.size()
             ? 0
             : static_cast<std::uint32_t>(row->counts[column]);
}

surplus surplus_of(const guest_snapshot& snapshot, const pv_ipis& pv, bool cal_excludes_tlb) {
  surplus out;
  const auto* res = row_of(snapshot, "RES");
  const auto* cal = row_of(snapshot, "CAL");
  const auto* tlb = cal_excludes_tlb ? row_of(snapshot, "TLB") : nullptr;
  for (std::size_t i = 0; i < pv.counts.size(); ++i) {
    if (res != nullptr) add_difference(count_at(res, i), pv.counts[i].resched, out);
    if (cal != nullptr)
      add_difference(count_at(cal, i) + count_at(tlb, i), pv.counts[i].calls, out);
  }
  return out;
}

/// The rows are not read atomically, so a small difference is tolerated.
bool is_small(std::uint64_t difference, std::uint64_t all) {
  return difference * 100 <= all;
}

void judge_counts(const guest_snapshot& snapshot, const pv_ipis& pv, check_result& result) {
  if (row_of(snapshot, "RES") == nullptr || row_of(snapshot, "CAL") == nullptr)
    return conclude(result, health::pass, "each CPU has event channels for IPIs");
  const auto plain = surplus_of(snapshot, pv, false);
  const auto reduced = surplus_of(snapshot, pv, true);
  const auto error = [](const surplus& entry) { return entry.others + entry.missing; };
  const auto& best = error(reduced) < error(plain) ? reduced : plain;
  if (is_small(error(best), best.pv + best.others))
    return conclude(result, health::pass, "all IPIs since boot went through the hypervisor");
  if (!is_small(best.missing, best.pv))
    return conclude(result, health::unknown,
                    "each CPU has event channels for IPIs, but rows RES and CAL count fewer IPIs "
                    "than these",
                    "xenpv-ipi counts the IPIs of a measurement on both sides");
  conclude(
      result, health::warn,
      fmt::format("of {} IPIs since boot, {} went through the hypervisor (modulo 2^32 per CPU)",
                  best.pv + best.others, best.pv),
      "the other IPIs used the APIC, either early during boot or because the kernel uses both");
}

/// Without PV IPIs, the verdict depends on whether the APIC is virtualized, which only CPUID shows.
void judge_native(const guest_snapshot& snapshot, check_result& result) {
  if (snapshot.cpuid &&
      (snapshot.cpuid->apic_access_is_virtual || snapshot.cpuid->x2apic_is_virtual))
    return conclude(result, health::pass, "IPIs use the APIC, which this processor virtualizes");
  if (snapshot.channels.delivery == channels::upcall::pci_interrupt)
    return conclude(result, health::warn,
                    "IPIs use the APIC: without the callback vector, there are no PV IPIs",
                    "PV IPIs require the callback vector: see row upcall");
  if (!snapshot.cpuid)
    return conclude(result, health::unknown,
                    "IPIs use the APIC; whether this processor virtualizes it cannot be determined",
                    "run xenpv-doctor in the guest itself, where CPUID shows it");
  conclude(result, health::warn, "IPIs use an emulated APIC: each one causes several VM exits",
           "PV IPIs require a kernel with CONFIG_XEN_PVHVM_SMP and without xen_nopv");
}

/// Returns the vCPUs for which the hypervisor lists at least the three IPI ports that Linux binds
/// (xen_smp_intr_init): resched, callfunc and callfuncsingle.
std::vector<unsigned> vcpus_with_ipi_ports(const guest_snapshot& snapshot) {
  constexpr unsigned least = 3;
  std::map<unsigned, unsigned> ports;
  if (snapshot.from.ports.value)
    for (const auto& status : *snapshot.from.ports.value)
      if (status.type == xen::port_type::ipi) ++ports[status.vcpu];
  std::vector<unsigned> out;
  for (const auto& [vcpu, count] : ports)
    if (count >= least) out.push_back(vcpu);
  return out;
}

/// arch/arm/kernel/smp.c and arch/arm64/kernel/smp.c: IPIs are software-generated interrupts of the
/// GIC, which Xen virtualizes (xen/arch/arm/vgic.c). There are no PV IPIs on ARM. The row numbers
/// differ between kernels, so rows are identified by their descriptions (xen-devel, June 2020:
/// IPI2, IPI3).
void check_arm(const guest_snapshot& snapshot, check_results& out) {
  check_result result{.id = "ipi"};
  if (snapshot.online.size() == 1)
    conclude(result, health::pass, "one CPU: no IPIs");
  else
    conclude(result, health::pass,
             "IPIs are interrupts of the virtual GIC, as in every ARM domain of Xen");
  if (snapshot.from.interrupts.value)
    for (const auto& row : snapshot.from.interrupts.value->rows)
      if (row.description == "Rescheduling interrupts" ||
          row.description == "Function call interrupts")
        cite(result, fmt::format("/proc/interrupts {} ({})", row.label, row.description),
             counts_text(row.counts));
  if (result.evidence.empty()) cite(result, "architecture", "ARM");
  out.push_back(std::move(result));
}

/// Whether the table is an excerpt: every x86 kernel prints row RES, and XenLinux rows resched.
bool is_excerpt(const guest_snapshot& snapshot) {
  return snapshot.may_be_excerpt() && row_of(snapshot, "RES") == nullptr &&
         !channels::is_xenlinux(*snapshot.from.interrupts.value);
}

bool has_xen_rows(const guest_snapshot& snapshot) {
  return std::ranges::any_of(snapshot.channels.channels, [](const channels::channel& channel) {
    return channel.irq.has_value();
  });
}

void judge_without_rows(const guest_snapshot& snapshot, check_result& result) {
  const auto vcpus = vcpus_with_ipi_ports(snapshot);
  if (!vcpus.empty()) cite(result, "EVTCHNOP_status, IPI ports", named_cpus(vcpus));
  if (!vcpus.empty() && vcpus.size() >= snapshot.online.size())
    return conclude(
        result, health::pass,
        fmt::format("the hypervisor lists IPI ports for all {}", counted(vcpus.size(), "vCPU")));
  const bool is_native = has_xen_rows(snapshot) && !is_excerpt(snapshot);
  if (is_native || snapshot.channels.delivery == channels::upcall::pci_interrupt)
    return judge_native(snapshot, result);
  conclude(
      result, health::unknown,
      has_xen_rows(snapshot) ? "/proc/interrupts is an excerpt without rows of IPIs"
                             : "/proc/interrupts has no row of an event channel",
      "the complete /proc/interrupts shows rows resched0, callfunc0 and so on if the guest has "
      "PV IPIs");
}

}  // namespace

void check_ipis(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.identity.machine == architecture::arm) return check_arm(snapshot, out);
  check_result result{.id = "ipi"};
  if (snapshot.online.size() == 1 && !snapshot.from.interrupts.value) {
    conclude(result, health::pass, "one CPU: no IPIs");
    cite(result, "online CPUs", cpus_text(snapshot.online));
    return out.push_back(std::move(result));
  }
  if (lacks_interrupts(snapshot, "ipi", "how IPIs are delivered cannot be determined", out)) return;
  const auto pv = pv_ipis_of(snapshot.channels);
  if (snapshot.online.size() == 1) {
    conclude(result, health::pass, "one CPU: no IPIs");
  } else if (pv.cpus.empty()) {
    judge_without_rows(snapshot, result);
  } else if (pv.cpus.size() >= snapshot.online.size()) {
    judge_counts(snapshot, pv, result);
  } else if (is_excerpt(snapshot)) {
    conclude(result, health::unknown,
             fmt::format("{} {} PV IPIs; the rows of the others are missing", named_cpus(pv.cpus),
                         pv.cpus.size() == 1 ? "has" : "have"),
             "the complete /proc/interrupts shows rows reschedN of all CPUs");
  } else {
    conclude(result, health::fail, fmt::format("only {} have PV IPIs", named_cpus(pv.cpus)),
             "look in the kernel log for errors about SMP and near \"installing Xen timer\"");
  }
  std::uint64_t resched = 0;
  std::uint64_t calls = 0;
  for (const auto& counts : pv.counts) {
    resched += counts.resched;
    calls += counts.calls;
  }
  cite(result, "/proc/interrupts resched*, all CPUs",
       pv.cpus.empty() ? "absent" : fmt::format("{}", resched));
  cite(result, "/proc/interrupts callfunc*, all CPUs",
       pv.cpus.empty() ? "absent" : fmt::format("{}", calls));
  for (const auto* label : {"RES", "CAL", "TLB"})
    cite_row(result, snapshot, label);
  if (snapshot.cpuid && snapshot.from.guest.type != xen::guest_type::pv)
    cite(result, "CPUID base+4 EAX",
         fmt::format("APIC accesses {}, x2APIC {}",
                     snapshot.cpuid->apic_access_is_virtual ? "virtual" : "emulated",
                     snapshot.cpuid->x2apic_is_virtual ? "virtual" : "emulated"));
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
