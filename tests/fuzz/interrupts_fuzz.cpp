// The kernel's text files as a capture may hold them, which anybody can have written: whatever the
// bytes, parsing ends, and what is accepted keeps the promises of the headers.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "xenpv/diag/channel_kind.hpp"
#include "xenpv/diag/clock_facts.hpp"
#include "xenpv/diag/interrupts.hpp"
#include "xenpv/diag/inventory.hpp"
#include "xenpv/diag/irq_files.hpp"

namespace {

namespace diag = xenpv::diag;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_table(const diag::interrupt_table& table) {
  require(!table.cpus.empty());
  for (const auto& row : table.rows) {
    require(!row.label.empty() && !row.counts.empty());
    require(row.counts.size() <= table.cpus.size());
    require(!row.irq || row.counts.size() == table.cpus.size());
    require(row.irq || diag::purpose_of(row) == std::nullopt);
    for (const auto& action : row.actions)
      require(!action.empty());
  }
  (void)diag::upcall_of(table, false);
  (void)diag::event_abi_of(table);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto table = diag::parse_interrupts(text)) check_table(*table);
  diag::readings from;
  // The same bytes as all three files of a capture: sections that do not parse are empty.
  if (auto table = diag::parse_interrupts(text)) from.interrupts.value = std::move(*table);
  if (auto ports = xenpv::xen::parse_lsevtchn(text)) {
    for (const auto& port : *ports) {
      const auto again = xenpv::xen::parse_lsevtchn(xenpv::xen::format_lsevtchn(port));
      require(again && again->size() == 1 && again->front() == port);
    }
    from.ports.value = std::move(*ports);
  }
  from.store.value = diag::parse_store_listing(text);
  from.holders = diag::parse_port_holders(text);
  const auto all = diag::make_inventory(from);
  for (const auto& each : all.channels)
    require(each.irq || each.number);
  (void)diag::parse_cpu_times(text);
  (void)diag::parse_timer_list(text);
  (void)diag::parse_spurious(text);
  (void)diag::parse_cpu_set(text);
  return 0;
}
