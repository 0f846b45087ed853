// The arguments of --disk and --fault: parsing terminates, and accepted values lie within bounds.
#include <cstdint>
#include <cstdlib>

#include "sim/disk_spec.hpp"
#include "sim/fault_spec.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace xenpv::sim;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto disk = parse_disk_spec(text)) {
    require(disk->sector_size == 512 || disk->sector_size == 4096);
    const bool is_command = disk->server == disk_server::command;
    require(is_command || disk->store == disk_store::file || disk->size > 0);
    require(is_command || disk->command.empty());
    require(disk->server == disk_server::simulator || disk->size == 0);
    require(disk->store != disk_store::file || !disk->path.empty());
    require(!disk->ring_order || *disk->ring_order <= 4);
    require(disk->device == xenpv::wire::parse_virtual_device(disk->name).value());
  }
  fault_switches faults;
  if (parse_fault(text, faults)) {
    for (const auto& ratio :
         {faults.event_lost, faults.event_doubled, faults.event_delayed, faults.grant_refused})
      require(ratio.whole >= 1 && ratio.part <= ratio.whole);
    require(faults.event_delay.count() >= 0 && faults.store_delay.count() >= 0);
  }
  return 0;
}
