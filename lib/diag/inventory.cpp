#include "xenpv/diag/inventory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "diag/join.hpp"

namespace xenpv::diag {
namespace {

channel channel_of(const interrupt_row& row, const channel_purpose& purpose, const readings& from) {
  channel out;
  out.kind = purpose.kind;
  out.name = row.name();
  out.detail = purpose.detail;
  out.irq = row.irq;
  out.chip = row.chip;
  out.counts = row.counts;
  if (row.chip == "xen-percpu") out.of_cpu = purpose.cpu;
  const auto facts = from.irqs.find(*row.irq);
  if (facts != from.irqs.end()) {
    if (facts->second.allowed) out.allowed = {{*facts->second.allowed, evidence::proc}};
    if (facts->second.effective) out.effective = {{*facts->second.effective, evidence::proc}};
  }
  if (purpose.kind == channel_kind::user) {
    const auto holders = holders_named(from.holders, purpose.detail);
    if (holders.size() == 1) out.process = {{holders.front()->pid, evidence::name}};
  }
  return out;
}

std::vector<channel> channels_of(const readings& from) {
  std::vector<channel> out;
  if (!from.interrupts.value) return out;
  for (const auto& row : from.interrupts.value->rows) {
    const auto purpose = row.irq ? purpose_of(row) : std::nullopt;
    if (purpose) out.push_back(channel_of(row, *purpose, from));
  }
  return out;
}

void note_problems(const readings& from, inventory& out) {
  if (!from.interrupts.value) {
    out.problems.push_back(from.interrupts.problem);
    return;
  }
  for (const auto& problem : from.interrupts.value->problems)
    out.problems.push_back("/proc/interrupts: " + problem);
}

void sort_channels(std::vector<channel>& channels) {
  const auto key = [](const channel& each) {
    constexpr auto nowhere = ~std::uint32_t{0};
    return std::tuple(each.irq.value_or(nowhere), each.number ? raw(each.number->value) : nowhere);
  };
  std::stable_sort(channels.begin(), channels.end(),
                   [&](const channel& a, const channel& b) { return key(a) < key(b); });
}

}  // namespace

std::string_view to_string(evidence from) noexcept {
  switch (from) {
    case evidence::hypervisor:
      return "hypervisor";
    case evidence::xenstore:
      return "xenstore";
    case evidence::proc:
      return "proc";
    case evidence::sys:
      return "sys";
    case evidence::name:
      return "name";
    case evidence::order:
      return "order";
  }
  return "invalid";
}

std::uint64_t channel::total() const noexcept {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

std::vector<std::uint64_t> inventory::events_per_cpu() const {
  std::vector<std::uint64_t> out(cpus.size());
  for (const auto& each : channels)
    for (std::size_t column = 0; column < each.counts.size() && column < out.size(); ++column)
      out[column] += each.counts[column];
  return out;
}

inventory make_inventory(const readings& from) {
  inventory out;
  out.guest = from.guest.type;
  out.is_control_domain = from.guest.is_control_domain;
  if (from.interrupts.value) {
    out.cpus = from.interrupts.value->cpus;
    out.delivery = upcall_of(*from.interrupts.value, from.guest.type == xen::guest_type::pv);
    out.abi = event_abi_of(*from.interrupts.value);
  }
  out.channels = channels_of(from);
  join_ports(from, out.channels);
  sort_channels(out.channels);
  out.ladder = make_ladder(from);
  note_problems(from, out);
  return out;
}

inventory make_port_inventory(const std::vector<xen::port_status>& ports) {
  inventory out;
  readings from;
  from.ports.value = ports;
  join_ports(from, out.channels);
  sort_channels(out.channels);
  out.ladder = {{.name = "hypervisor", .used = true, .gives = "ports, types, vCPUs, other ends"}};
  return out;
}

}  // namespace xenpv::diag
