// Lists the sources of the inventory, and the remedy for each missing one.
#include "channels/join.hpp"

namespace xenpv::channels {
namespace {

source_status proc_source(const raw_facts& facts) {
  source_status out{.name = "proc", .gives = "interrupts, counts, affinities"};
  out.used = facts.interrupts.value.has_value();
  if (!out.used) out.needs = facts.interrupts.problem;
  return out;
}

source_status holders_source(const raw_facts& facts) {
  source_status out{.name = "processes", .gives = "the owners of user channels"};
  out.used = !facts.holders.empty();
  if (!out.used)
    out.needs = "no process has /dev/xen/evtchn open, or root is required to detect it";
  return out;
}

}  // namespace

std::vector<source_status> list_sources(const raw_facts& facts) {
  std::vector<source_status> out;
  out.push_back({.name = "hypervisor",
                 .used = facts.ports.value.has_value(),
                 .gives = "all ports, their types, notified vCPUs and remote ends",
                 .needs = facts.ports.problem});
  out.push_back({.name = "xenstore",
                 .used = facts.store.value.has_value(),
                 .gives = "the ports of PV devices",
                 .needs = facts.store.problem});
  out.push_back(proc_source(facts));
  out.push_back(holders_source(facts));
  // A kprobe on handle_irq_for_port would show the interrupt of a port that fires.
  out.push_back(
      {.name = "tracefs",
       .used = false,
       .gives = "the port of each interrupt, once an event arrives",
       .needs = "not implemented in this version; would require root, tracefs and kprobes"});
  return out;
}

}  // namespace xenpv::channels
