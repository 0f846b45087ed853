// Which sources there were, and what each missing one would need.
#include "diag/join.hpp"

namespace xenpv::diag {
namespace {

rung proc_rung(const readings& from) {
  rung out{.name = "proc", .gives = "interrupts, counts, affinities"};
  out.used = from.interrupts.value.has_value();
  if (!out.used) out.needs = from.interrupts.problem;
  return out;
}

rung holders_rung(const readings& from) {
  rung out{.name = "processes", .gives = "whose a user's channel is"};
  out.used = !from.holders.empty();
  if (!out.used) out.needs = "nobody has /dev/xen/evtchn open, or root is needed to see who has";
  return out;
}

}  // namespace

std::vector<rung> make_ladder(const readings& from) {
  std::vector<rung> out;
  out.push_back({.name = "hypervisor",
                 .used = from.ports.value.has_value(),
                 .gives = "all ports, their types, notified vCPUs and other ends",
                 .needs = from.ports.problem});
  out.push_back({.name = "xenstore",
                 .used = from.store.value.has_value(),
                 .gives = "the ports of PV devices",
                 .needs = from.store.problem});
  out.push_back(proc_rung(from));
  out.push_back(holders_rung(from));
  // A kprobe on handle_irq_for_port would tell which interrupt a port that fires has.
  out.push_back({.name = "tracefs",
                 .used = false,
                 .gives = "which port belongs to which interrupt, once an event comes",
                 .needs = "not used by this version; root, tracefs and kprobes could give it"});
  return out;
}

}  // namespace xenpv::diag
