// Lists the inventory's sources and the remedy for each missing one.
#include "channels/join.hpp"

namespace xenpv::channels {

std::vector<source_status> list_sources(const raw_facts& facts) {
  const bool has_holders = !facts.holders.empty();
  return {{.name = "hypervisor",
           .used = facts.ports.value.has_value(),
           .gives = "all ports, their types, notified vCPUs and remote ends",
           .needs = facts.ports.problem},
          {.name = "xenstore",
           .used = facts.store.value.has_value(),
           .gives = "the ports of PV devices",
           .needs = facts.store.problem},
          {.name = "proc",
           .used = facts.interrupts.value.has_value(),
           .gives = "interrupts, counts, affinities",
           .needs = facts.interrupts.problem},
          {.name = "processes",
           .used = has_holders,
           .gives = "the owners of user channels",
           .needs = has_holders
                        ? ""
                        : "no process has /dev/xen/evtchn open, or root is required to detect it"},
          // A kprobe on handle_irq_for_port would reveal the interrupt of each firing port.
          {.name = "tracefs",
           .used = false,
           .gives = "the port of each interrupt, once an event arrives",
           .needs = "not implemented in this version; would require root, tracefs and kprobes"}};
}

}  // namespace xenpv::channels
