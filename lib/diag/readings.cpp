#include "xenpv/diag/readings.hpp"

#include <fmt/format.h>

#include "diag/captured.hpp"
#include "diag/words.hpp"
#include "xenpv/diag/channel_kind.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::diag {

reading_place place_at(const std::string& root) {
  if (root.empty()) return {};
  reading_place place{.root = system_root(root), .is_capture = true};
  if (!place.root.exists("/proc/interrupts"))
    throw failure(errc::invalid_argument, fmt::format("look into {}", root),
                  "it has no proc/interrupts; unpack what xenpv-evtchn capture wrote");
  return place;
}

reading<interrupt_table> read_interrupts(const system_root& root) {
  const auto text = root.read("/proc/interrupts");
  if (!text) return {.problem = root.path("/proc/interrupts").string() + " cannot be read"};
  auto table = parse_interrupts(*text);
  if (!table) return {.problem = table.error().text};
  return {.value = std::move(*table)};
}

reading<std::vector<xen::port_status>> read_ports(const reading_place& place, domid domain) {
  if (const auto noted = place.is_capture ? place.root.read(captured_ports) : std::nullopt) {
    if (domain != domid_self) return {.problem = "the capture has the guest's own ports only"};
    auto ports = xen::parse_lsevtchn(*noted);
    if (!ports) return {.problem = ports.error().text};
    return {.value = std::move(*ports)};
  }
  if (place.is_capture) return {.problem = "not in the capture"};
  try {
    return {.value = xen::read_port_status(domain, place.root)};
  } catch (const failure& problem) {
    return {.problem = problem.what()};
  }
}

reading<store_nodes> read_store(const reading_place& place, bool of_all_domains) {
  if (place.is_capture) {
    if (const auto noted = place.root.read(captured_store))
      return {.value = parse_store_listing(*noted)};
    return {.problem = "not in the capture"};
  }
  try {
    return {.value = read_store_nodes(xen::store::open(), of_all_domains)};
  } catch (const failure& problem) {
    return {.problem = problem.what()};
  }
}

readings read_all(const reading_place& place) {
  readings out;
  out.guest = xen::read_guest_facts(place.root);
  out.interrupts = read_interrupts(place.root);
  if (out.interrupts.value)
    for (const auto& row : out.interrupts.value->rows)
      if (row.irq && purpose_of(row))
        out.irqs.emplace(*row.irq, read_irq_affinity(place.root, *row.irq));
  out.ports = read_ports(place);
  out.store = read_store(place, out.guest.is_control_domain);
  if (const auto text = place.root.read("/proc/xen/xsd_port"))
    if (const auto number = parse_whole<std::uint32_t>(trim(*text)))
      out.xenstored_port = port{*number};
  out.holders = read_port_holders(place.root);
  return out;
}

}  // namespace xenpv::diag
