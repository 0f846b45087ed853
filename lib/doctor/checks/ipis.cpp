// Checks how IPIs are delivered: through event channels (PV) or through the APIC. Rows RES and CAL
// count both kinds, so they are compared with the event-channel rows.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

struct ipi_rows {
  std::uint64_t resched = 0;
  std::uint64_t calls = 0;
  std::vector<unsigned> cpus = {};  ///< CPUs with a resched row
};

ipi_rows rows_of(const channels::inventory& all) {
  ipi_rows out;
  for (const auto& channel : all.channels) {
    if (channel.kind != channels::channel_kind::ipi) continue;
    if (channel.detail == "resched") {
      out.resched += channel.total();
      if (channel.of_cpu) out.cpus.push_back(*channel.of_cpu);
    }
    if (channel.detail.starts_with("callfunc")) out.calls += channel.total();
  }
  return out;
}

void judge_counts(const ipi_rows& pv, std::uint64_t all_resched, std::uint64_t all_calls,
                  check_result& result) {
  // The rows are not read atomically, so a small difference is tolerated.
  const auto all = all_resched + all_calls;
  const auto ours = pv.resched + pv.calls;
  const auto share = all == 0 ? 1.0 : static_cast<double>(ours) / static_cast<double>(all);
  if (share >= 0.99)
    return conclude(result, health::pass,
                    fmt::format("all {} IPIs since boot went through the hypervisor", ours));
  conclude(
      result, health::warn,
      fmt::format("of {} IPIs since boot, {} went through the hypervisor", all, ours),
      "the other IPIs used the APIC, either early during boot or because the kernel uses both");
}

void judge_native(const guest_snapshot& snapshot, check_result& result) {
  if (snapshot.cpuid &&
      (snapshot.cpuid->apic_access_is_virtual || snapshot.cpuid->x2apic_is_virtual))
    return conclude(result, health::pass, "IPIs use the APIC, which this processor virtualizes");
  conclude(result, health::warn, "IPIs use an emulated APIC: each one causes several VM exits",
           snapshot.channels.delivery == channels::upcall::pci_interrupt
               ? "PV IPIs require the callback vector: see row upcall"
               : "PV IPIs require a kernel with CONFIG_XEN_PVHVM_SMP and without xen_nopv");
}

}  // namespace

void check_ipis(const guest_snapshot& snapshot, check_results& out) {
  if (lacks_interrupts(snapshot, "ipi", "how IPIs are delivered cannot be determined", out)) return;
  check_result result{.id = "ipi"};
  const auto pv = rows_of(snapshot.channels);
  const auto res = total_of(snapshot, "RES");
  const auto cal = total_of(snapshot, "CAL");
  if (snapshot.online.size() < 2) {
    conclude(result, health::pass, "one CPU: no IPIs");
  } else if (pv.cpus.size() >= snapshot.online.size()) {
    judge_counts(pv, res, cal, result);
  } else if (pv.cpus.empty()) {
    judge_native(snapshot, result);
  } else {
    conclude(result, health::fail, fmt::format("only CPUs {} have PV IPIs", cpus_text(pv.cpus)),
             "look in the kernel log for errors about SMP and near \"installing Xen timer\"");
  }
  cite(result, "/proc/interrupts resched*",
       pv.cpus.empty() ? "absent" : fmt::format("{}", pv.resched));
  cite(result, "/proc/interrupts callfunc*",
       pv.cpus.empty() ? "absent" : fmt::format("{}", pv.calls));
  cite(result, "/proc/interrupts RES, CAL", fmt::format("{}, {}", res, cal));
  if (snapshot.cpuid && snapshot.from.guest.type != xen::guest_type::pv)
    cite(result, "CPUID base+4 EAX",
         fmt::format("APIC accesses {}, x2APIC {}",
                     snapshot.cpuid->apic_access_is_virtual ? "virtual" : "emulated",
                     snapshot.cpuid->x2apic_is_virtual ? "virtual" : "emulated"));
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
