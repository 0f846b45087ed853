// Kernel text files from an untrusted capture: parsing terminates, and the results meet the
// contracts in the parsers' headers.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "channels/channel_kind.hpp"
#include "channels/interrupts.hpp"
#include "channels/inventory.hpp"
#include "channels/irq_files.hpp"
#include "fuzz/capture_section.hpp"
#include "probe/clock_facts.hpp"

namespace {

namespace channels = xenpv::channels;
namespace probe = xenpv::probe;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_table(const channels::interrupt_table& table) {
  require(!table.cpus.empty());
  for (const auto& row : table.rows) {
    require(!row.label.empty() && !row.counts.empty());
    require(row.counts.size() <= table.cpus.size());
    require(!row.irq || row.counts.size() == table.cpus.size());
    require(row.irq || channels::purpose_of(row) == std::nullopt);
    for (const auto& action : row.actions)
      require(!action.empty());
  }
  (void)channels::upcall_of(table, false);
  (void)channels::is_xenlinux(table);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text =
      xenpv::fuzz::capture_section({reinterpret_cast<const char*>(data), size}, "/proc/interrupts");
  if (const auto table = channels::parse_interrupts(text)) check_table(*table);
  channels::raw_facts facts;
  // Use the same bytes for all three files of a capture. A file that cannot be parsed counts as
  // empty.
  if (auto table = channels::parse_interrupts(text)) facts.interrupts.value = std::move(*table);
  if (auto ports = xenpv::xen::parse_lsevtchn(text)) {
    for (const auto& port : *ports) {
      const auto again = xenpv::xen::parse_lsevtchn(xenpv::xen::format_lsevtchn(port));
      require(again && again->size() == 1 && again->front() == port);
    }
    facts.ports.value = std::move(*ports);
  }
  facts.store.value = channels::parse_store_listing(text);
  facts.holders = channels::parse_port_holders(text);
  const auto all = channels::make_inventory(facts);
  for (const auto& channel : all.channels)
    require(channel.irq || channel.number);
  (void)probe::parse_cpu_times(text);
  (void)probe::parse_timer_list(text);
  (void)channels::parse_spurious(text);
  (void)channels::parse_cpu_set(text);
  return 0;
}
