#include "channels/raw_facts.hpp"

#include <fmt/format.h>

#include "channels/captured.hpp"
#include "channels/channel_kind.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::channels {

fact_source place_at(const std::string& root) {
  if (root.empty()) return {};
  fact_source source{.root = system_root(root), .is_capture = true};
  if (!source.root.exists("/proc/interrupts"))
    throw failure(errc::invalid_argument, fmt::format("open capture {}", root),
                  "it contains no proc/interrupts; unpack an archive made by xenpv-evtchn capture");
  return source;
}

reading<interrupt_table> read_interrupts(const system_root& root) {
  const auto text = root.read("/proc/interrupts");
  if (!text) return {.problem = root.path("/proc/interrupts").string() + " cannot be read"};
  auto table = parse_interrupts(*text);
  if (!table) return {.problem = table.error().text, .is_malformed = true};
  return {.value = std::move(*table)};
}

reading<std::vector<xen::port_status>> read_ports(const fact_source& source, domid domain) {
  if (const auto captured = source.is_capture ? source.root.read(captured_ports) : std::nullopt) {
    if (domain != domid_self) return {.problem = "the capture contains only the guest's own ports"};
    auto ports = xen::parse_lsevtchn(*captured);
    if (!ports) return {.problem = ports.error().text};
    return {.value = std::move(*ports)};
  }
  if (source.is_capture) return {.problem = "not in the capture"};
  try {
    return {.value = xen::read_port_status(domain, source.root)};
  } catch (const failure& problem) {
    return {.problem = problem.what()};
  }
}

reading<store_nodes> read_store(const fact_source& source, bool all_domains) {
  if (source.is_capture) {
    if (const auto captured = source.root.read(captured_store))
      return {.value = parse_store_listing(*captured)};
    return {.problem = "not in the capture"};
  }
  try {
    return {.value = read_store_nodes(xen::store::open(), all_domains)};
  } catch (const failure& problem) {
    return {.problem = problem.what()};
  }
}

raw_facts read_raw_facts(const fact_source& source) {
  raw_facts out;
  out.guest = xen::read_guest_facts(source.root);
  out.interrupts = read_interrupts(source.root);
  if (out.interrupts.value)
    for (const auto& row : out.interrupts.value->rows)
      if (row.irq && purpose_of(row))
        out.irqs.emplace(*row.irq, read_irq_affinity(source.root, *row.irq));
  out.ports = read_ports(source);
  out.store = read_store(source, out.guest.is_control_domain);
  if (const auto number = read_number<std::uint32_t>(source.root, "/proc/xen/xsd_port"))
    out.xenstored_port = port{*number};
  out.holders = read_port_holders(source.root);
  return out;
}

}  // namespace xenpv::channels
