#include "doctor/guest_snapshot.hpp"

#include <fmt/format.h>

#include "base/words.hpp"
#include "channels/captured.hpp"
#include "doctor/notes.hpp"
#include "doctor/row_table.hpp"
#include "doctor/vdso.hpp"

namespace xenpv::doctor {
namespace {

/// Extracts the release from "Linux version 6.1.0-56-amd64 (...)".
std::string release_in(std::string_view version) {
  (void)next_word(version);
  (void)next_word(version);
  return std::string(next_word(version).value_or(""));
}

std::vector<unsigned> read_online(const system_root& root, const channels::interrupt_table* table) {
  if (const auto text = root.read("/sys/devices/system/cpu/online"))
    if (auto cpus = channels::parse_cpu_set(*text); cpus && !cpus->empty()) return std::move(*cpus);
  return table == nullptr ? std::vector<unsigned>() : table->cpus;
}

void read_store_of_disks(const channels::fact_source& source, guest_snapshot& out) {
  auto nodes = out.from.store.value.value_or(channels::store_nodes());
  nodes.merge(read_disk_backends(source, nodes));
  out.blkfront = read_blkfront_limits(source.root);
  out.disks = make_disk_facts(source.root, nodes);
}

/// Runs CPUID queries and run-time probes, or reads their results from a capture.
void try_out(const channels::fact_source& source, guest_snapshot& out) {
  if (source.root.is_real()) {
    out.cost = probe::measure_clock_cost();
    out.clock_in_vdso = clock_is_read_in_vdso();
    out.cpuid = xen::read_cpuid(out.from.guest.type, source.root);
    if (!out.on_xen()) out.hypervisor_elsewhere = hypervisor_signature();
  } else if (const auto captured = source.root.read(channels::captured_trials)) {
    take_notes(*captured, out);
  }
}

}  // namespace

bool guest_snapshot::was_booted_with(boot_option option) const {
  const auto name = to_string(option);
  std::string_view rest = command_line ? std::string_view(*command_line) : std::string_view();
  while (const auto word = next_word(rest))
    if (*word == name || (word->starts_with(name) && word->substr(name.size()).starts_with('=')))
      return true;
  return false;
}

guest_snapshot take_snapshot(const channels::fact_source& source) {
  const auto& root = source.root;
  guest_snapshot out;
  out.from = channels::read_raw_facts(source);
  out.channels = channels::make_inventory(out.from);
  out.is_capture = source.is_capture;
  out.kernel = release_in(root.read("/proc/version").value_or(""));
  out.command_line = root.read("/proc/cmdline");
  out.online = read_online(root, out.from.interrupts.value ? &*out.from.interrupts.value : nullptr);
  out.log = read_kernel_log(root);
  out.clock = probe::read_clock_facts(root);
  out.cpu_times = probe::read_cpu_times(root);
  out.hotplug_states = root.read("/sys/devices/system/cpu/hotplug/states");
  out.grants = read_grant_use(root);
  out.devices = read_xenbus_devices(root);
  read_store_of_disks(source, out);
  try_out(source, out);
  return out;
}

std::vector<check_result> run_checks(const guest_snapshot& snapshot) {
  std::vector<check_result> out;
  for (const auto& row : row_table())
    if (row.check != nullptr && (snapshot.on_xen() || row.applies_outside_xen))
      row.check(snapshot, out);
  return out;
}

}  // namespace xenpv::doctor
