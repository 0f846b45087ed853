#include "xenpv/diag/examination.hpp"

#include <fmt/format.h>

#include "diag/captured.hpp"
#include "diag/checks.hpp"
#include "diag/notes.hpp"
#include "diag/words.hpp"
#include "xenpv/diag/vdso.hpp"

namespace xenpv::diag {
namespace {

/// "Linux version 6.1.0-56-amd64 (...)"
std::string release_in(std::string_view version) {
  (void)next_word(version);
  (void)next_word(version);
  return std::string(next_word(version).value_or(""));
}

std::vector<unsigned> read_online(const system_root& root, const interrupt_table* table) {
  if (const auto text = root.read("/sys/devices/system/cpu/online"))
    if (auto cpus = parse_cpu_set(*text); cpus && !cpus->empty()) return std::move(*cpus);
  return table == nullptr ? std::vector<unsigned>() : table->cpus;
}

void read_store_of_disks(const reading_place& place, examination& out) {
  auto nodes = out.from.store.value.value_or(store_nodes());
  nodes.merge(read_disk_backends(place, nodes));
  out.blkfront = read_blkfront_limits(place.root);
  out.disks = make_disk_facts(place.root, nodes);
}

/// What is asked of the processor and tried out, or noted in a capture.
void try_out(const reading_place& place, examination& out) {
  if (place.root.is_real()) {
    out.cost = measure_clock_cost();
    out.clock_in_vdso = clock_is_read_in_vdso();
    out.cpuid = xen::read_cpuid(out.from.guest.type, place.root);
    if (!out.on_xen()) out.hypervisor_elsewhere = hypervisor_signature();
  } else if (const auto noted = place.root.read(captured_trials)) {
    take_notes(*noted, out);
  }
}

}  // namespace

bool examination::was_booted_with(std::string_view word) const {
  std::string_view rest = command_line ? std::string_view(*command_line) : std::string_view();
  while (const auto each = next_word(rest))
    if (*each == word || (each->starts_with(word) && each->substr(word.size()).starts_with('=')))
      return true;
  return false;
}

examination examine(const reading_place& place) {
  const auto& root = place.root;
  examination out;
  out.from = read_all(place);
  out.channels = make_inventory(out.from);
  out.is_capture = place.is_capture;
  out.kernel = release_in(root.read("/proc/version").value_or(""));
  out.command_line = root.read("/proc/cmdline");
  out.online = read_online(root, out.from.interrupts.value ? &*out.from.interrupts.value : nullptr);
  out.log = read_kernel_log(root);
  out.clock = read_clock_facts(root);
  if (const auto text = root.read("/proc/stat")) out.cpu_times = parse_cpu_times(*text);
  out.hotplug_states = root.read("/sys/devices/system/cpu/hotplug/states");
  out.grants = read_grant_use(root);
  out.devices = read_xenbus_devices(root);
  read_store_of_disks(place, out);
  try_out(place, out);
  return out;
}

std::vector<finding> judge(const examination& of) {
  std::vector<finding> out;
  check_domain(of, out);
  if (!of.on_xen()) {
    check_clock(of, out);
    check_steal(of, out);
    return out;
  }
  check_upcall(of, out);
  check_timer(of, out);
  check_clock(of, out);
  check_ipis(of, out);
  check_spread(of, out);
  check_channels(of, out);
  check_disks(of, out);
  check_back_ends(of, out);
  check_grants(of, out);
  check_steal(of, out);
  check_migration(of, out);
  check_devices(of, out);
  return out;
}

}  // namespace xenpv::diag
