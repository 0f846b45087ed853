// IPIs: event channels of the hypervisor (PV), or the APIC. Rows RES and CAL count both, so only a
// comparison with the rows of the event channels tells them apart.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

struct ipi_rows {
  std::uint64_t resched = 0;
  std::uint64_t calls = 0;
  std::vector<unsigned> cpus = {};  ///< with a row resched
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

std::uint64_t total_of(const channels::interrupt_table& table, std::string_view label) {
  const auto* row = table.find(label);
  return row == nullptr ? 0 : row->total();
}

void judge_counts(const ipi_rows& pv, std::uint64_t all_resched, std::uint64_t all_calls,
                  check_result& result) {
  // The rows are read one after the other while IPIs continue.
  const auto all = all_resched + all_calls;
  const auto ours = pv.resched + pv.calls;
  const auto share = all == 0 ? 1.0 : static_cast<double>(ours) / static_cast<double>(all);
  result.verdict = share >= 0.99 ? health::pass : health::warn;
  result.summary =
      share >= 0.99
          ? fmt::format("IPIs go through the hypervisor: all {} since boot", ours)
          : fmt::format("of {} IPIs since boot, {} went through the hypervisor", all, ours);
  if (share < 0.99)
    result.remedy = "the others used the APIC: early in the boot, or in a kernel that mixes both";
}

void judge_native(const guest_snapshot& snapshot, check_result& result) {
  const bool assisted = snapshot.cpuid && (snapshot.cpuid->apic_access_is_virtual ||
                                           snapshot.cpuid->x2apic_is_virtual);
  result.verdict = assisted ? health::pass : health::warn;
  result.summary = assisted ? "IPIs use the APIC, which this processor virtualizes"
                            : "IPIs use an emulated APIC: each one causes several VM exits";
  if (!assisted)
    result.remedy = snapshot.channels.delivery == channels::upcall::pci_interrupt
                        ? "PV IPIs need the callback vector: see upcall"
                        : "PV IPIs need a kernel with CONFIG_XEN_PVHVM_SMP and without xen_nopv";
}

}  // namespace

void check_ipis(const guest_snapshot& snapshot, check_results& out) {
  check_result result{.id = "ipi"};
  if (lacks_interrupts(snapshot, "the path of IPIs cannot be determined", result, out)) return;
  const auto& table = *snapshot.from.interrupts.value;
  const auto pv = rows_of(snapshot.channels);
  const auto res = total_of(table, "RES");
  const auto cal = total_of(table, "CAL");
  if (snapshot.online.size() < 2) {
    result.verdict = health::pass;
    result.summary = "one CPU: no IPIs";
  } else if (pv.cpus.size() >= snapshot.online.size()) {
    judge_counts(pv, res, cal, result);
  } else if (pv.cpus.empty()) {
    judge_native(snapshot, result);
  } else {
    result.verdict = health::fail;
    result.summary = fmt::format("only CPUs {} have PV IPIs", cpus_text(pv.cpus));
    result.remedy = "look for errors at \"installing Xen timer\" and SMP in the kernel's log";
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
