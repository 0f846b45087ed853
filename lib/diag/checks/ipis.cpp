// IPIs: event channels of the hypervisor (PV), or the APIC's. The rows RES and CAL count both, so
// only the rows of the event channels, compared with these, tell.
#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

struct ipi_rows {
  std::uint64_t resched = 0;
  std::uint64_t calls = 0;
  std::vector<unsigned> cpus = {};  ///< that have a row resched
};

ipi_rows rows_of(const inventory& all) {
  ipi_rows out;
  for (const auto& each : all.channels) {
    if (each.kind != channel_kind::ipi) continue;
    if (each.detail == "resched") {
      out.resched += each.total();
      if (each.of_cpu) out.cpus.push_back(*each.of_cpu);
    }
    if (each.detail.starts_with("callfunc")) out.calls += each.total();
  }
  return out;
}

std::uint64_t total_of(const interrupt_table& table, std::string_view label) {
  const auto* row = table.find(label);
  return row == nullptr ? 0 : row->total();
}

void judge_counts(const ipi_rows& pv, std::uint64_t all_resched, std::uint64_t all_calls,
                  finding& found) {
  // The rows are read one after the other while IPIs go on.
  const auto all = all_resched + all_calls;
  const auto ours = pv.resched + pv.calls;
  const auto share = all == 0 ? 1.0 : static_cast<double>(ours) / static_cast<double>(all);
  found.verdict = share >= 0.99 ? health::pass : health::warn;
  found.summary =
      share >= 0.99
          ? fmt::format("IPIs go through the hypervisor: all {} since boot", ours)
          : fmt::format("of {} IPIs since boot, {} went through the hypervisor", all, ours);
  if (share < 0.99)
    found.cure = "the others went by the APIC: early in the boot, or from a kernel that mixes both";
}

void judge_native(const examination& of, finding& found) {
  const bool assisted =
      of.cpuid && (of.cpuid->apic_access_is_virtual || of.cpuid->x2apic_is_virtual);
  found.verdict = assisted ? health::pass : health::warn;
  found.summary = assisted ? "IPIs go by the APIC, which this processor virtualizes"
                           : "IPIs go by an emulated APIC: each one leaves the guest several times";
  if (!assisted)
    found.cure = of.channels.delivery == upcall::pci_interrupt
                     ? "PV IPIs need the callback vector: see upcall"
                     : "PV IPIs need a kernel with CONFIG_XEN_PVHVM_SMP and without xen_nopv";
}

}  // namespace

void check_ipis(const examination& of, findings& out) {
  finding found{.id = "ipi"};
  if (lacks_interrupts(of, "how IPIs go cannot be seen", found, out)) return;
  const auto& table = *of.from.interrupts.value;
  const auto pv = rows_of(of.channels);
  const auto res = total_of(table, "RES");
  const auto cal = total_of(table, "CAL");
  if (of.online.size() < 2) {
    found.verdict = health::pass;
    found.summary = "one CPU: no IPIs";
  } else if (pv.cpus.size() >= of.online.size()) {
    judge_counts(pv, res, cal, found);
  } else if (pv.cpus.empty()) {
    judge_native(of, found);
  } else {
    found.verdict = health::fail;
    found.summary = fmt::format("only CPUs {} have PV IPIs", cpus_text(pv.cpus));
    found.cure = "look for errors at \"installing Xen timer\" and SMP in the kernel's log";
  }
  cite(found, "/proc/interrupts resched*",
       pv.cpus.empty() ? "absent" : fmt::format("{}", pv.resched));
  cite(found, "/proc/interrupts callfunc*",
       pv.cpus.empty() ? "absent" : fmt::format("{}", pv.calls));
  cite(found, "/proc/interrupts RES, CAL", fmt::format("{}, {}", res, cal));
  if (of.cpuid && of.from.guest.type != xen::guest_type::pv)
    cite(found, "CPUID base+4 EAX",
         fmt::format("APIC accesses {}, x2APIC {}",
                     of.cpuid->apic_access_is_virtual ? "virtual" : "emulated",
                     of.cpuid->x2apic_is_virtual ? "virtual" : "emulated"));
  out.push_back(std::move(found));
}

}  // namespace xenpv::diag
