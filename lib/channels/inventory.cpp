#include "channels/inventory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/enum_name.hpp"
#include "channels/join.hpp"

namespace xenpv::channels {
namespace {

channel channel_of(const interrupt_row& row, const channel_purpose& purpose,
                   const raw_facts& facts) {
  channel out;
  out.kind = purpose.kind;
  out.name = row.name();
  out.detail = purpose.detail;
  out.irq = row.irq;
  out.chip = row.chip;
  out.counts = row.counts;
  out.is_per_cpu = is_per_cpu(row);
  if (out.is_per_cpu) out.of_cpu = purpose.cpu;
  const auto affinity = facts.irqs.find(*row.irq);
  if (affinity != facts.irqs.end()) {
    if (affinity->second.allowed) out.allowed = {{*affinity->second.allowed, evidence::proc}};
    if (affinity->second.effective) out.effective = {{*affinity->second.effective, evidence::proc}};
  }
  if (purpose.kind == channel_kind::user) {
    const auto holders = holders_named(facts.holders, purpose.detail);
    if (holders.size() == 1) out.process = {{holders.front()->pid, evidence::name}};
  }
  return out;
}

std::vector<channel> channels_of(const raw_facts& facts) {
  std::vector<channel> out;
  if (!facts.interrupts.value) return out;
  for (const auto& row : facts.interrupts.value->rows) {
    const auto purpose = row.irq ? purpose_of(row) : std::nullopt;
    if (purpose) out.push_back(channel_of(row, *purpose, facts));
  }
  return out;
}

void note_problems(const raw_facts& facts, inventory& out) {
  if (!facts.interrupts.value) {
    out.problems.push_back(facts.interrupts.problem);
    return;
  }
  for (const auto& problem : facts.interrupts.value->problems)
    out.problems.push_back("/proc/interrupts: " + problem);
}

void sort_channels(std::vector<channel>& channels) {
  const auto key = [](const channel& entry) {
    constexpr auto nowhere = ~std::uint32_t{0};
    const auto number = entry.number ? raw(entry.number->value) : nowhere;
    return std::tuple(entry.irq.value_or(nowhere), number);
  };
  std::ranges::stable_sort(channels, {}, key);
}

}  // namespace

std::string_view to_string(evidence source) noexcept {
  return enum_name<evidence::order>(source, "hypervisor", "xenstore", "proc", "sys", "name",
                                    "order");
}

std::uint64_t channel::total() const noexcept {
  return sum_of(counts);
}

std::vector<std::uint64_t> inventory::events_per_cpu() const {
  std::vector<std::uint64_t> out(cpus.size());
  for (const auto& entry : channels)
    add_counts(out, entry.counts);
  return out;
}

inventory make_inventory(const raw_facts& facts) {
  inventory out;
  out.guest = facts.guest.type;
  out.is_control_domain = facts.guest.is_control_domain;
  if (facts.interrupts.value) {
    out.cpus = facts.interrupts.value->cpus;
    out.delivery = upcall_of(*facts.interrupts.value, facts.guest.type == xen::guest_type::pv);
    const bool is_hvm =
        facts.guest.type == xen::guest_type::hvm || facts.guest.type == xen::guest_type::pvh;
    // Only a PV guest has the callback.
    if (out.delivery == upcall::per_vcpu && is_hvm) out.delivery = upcall::vector;
  }
  out.channels = channels_of(facts);
  join_ports(facts, out.channels);
  sort_channels(out.channels);
  out.ladder = list_sources(facts);
  note_problems(facts, out);
  return out;
}

inventory make_port_inventory(const std::vector<xen::port_status>& ports) {
  inventory out;
  raw_facts facts;
  facts.ports.value = ports;
  join_ports(facts, out.channels);
  sort_channels(out.channels);
  out.ladder = {{.name = "hypervisor", .used = true, .gives = "ports, types, vCPUs, remote ends"}};
  return out;
}

}  // namespace xenpv::channels
