#include "doctor/guest_snapshot.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "base/words.hpp"
#include "channels/captured.hpp"
#include "doctor/notes.hpp"
#include "doctor/row_table.hpp"
#include "doctor/vdso.hpp"

namespace xenpv::doctor {
namespace {

/// The kernel counts stolen time in ticks of 10 ms, so shorter intervals show only large shares.
constexpr std::chrono::seconds shortest_interval{1};

/// Extracts the release from "Linux version 6.1.0-56-amd64 (...)".
std::string release_in(std::string_view version) {
  (void)next_word(version);
  (void)next_word(version);
  return std::string(next_word(version).value_or(""));
}

std::vector<unsigned> read_online(const system_root& root, const channels::interrupt_table* table,
                                  const kernel_log& log) {
  if (const auto text = root.read("/sys/devices/system/cpu/online"))
    if (auto cpus = channels::parse_cpu_set(*text); cpus && !cpus->empty()) return std::move(*cpus);
  return table == nullptr ? cpus_in_log(log) : table->cpus;
}

void read_store_of_devices(const channels::fact_source& source, guest_snapshot& out) {
  auto nodes = out.from.store.value.value_or(channels::store_nodes());
  nodes.merge(read_disk_backends(source, nodes));
  nodes.merge(read_device_nodes(source, nodes, out.devices));
  out.blkfront = read_blkfront_limits(source.root);
  out.disks = make_disk_facts(source.root, nodes);
  out.frontends = make_frontend_facts(out.devices, nodes);
  add_backend_errors(nodes, out.devices);
}

/// Reads the states of the frontends again if one lacked its backend. This distinguishes a device
/// that is connecting from one whose hotplug script failed.
void read_frontends_again(const channels::fact_source& source, guest_snapshot& out) {
  if (std::ranges::none_of(out.frontends, lacks_backend)) return;
  const auto store = channels::read_store(source, out.from.guest.is_control_domain);
  if (!store.value) return;
  const auto devices = read_xenbus_devices(source.root);
  auto nodes = *store.value;
  nodes.merge(read_device_nodes(source, nodes, devices));
  auto later = make_frontend_facts(devices, nodes);
  mark_stuck(out.frontends, later);
  out.frontends = std::move(later);
}

/// The machine name of a 64-bit kernel ends in 64 on x86 and ARM: "x86_64", "aarch64".
bool runs_64_bit_kernel() {
  utsname name{};
  return ::uname(&name) == 0 && std::string_view(name.machine).ends_with("64");
}

/// Runs CPUID queries and run-time probes, or reads their results from a capture.
void try_out(const channels::fact_source& source, guest_snapshot& out) {
  if (source.root.is_real()) {
    out.cost = probe::measure_clock_cost();
    out.clock_in_vdso = clock_is_read_in_vdso();
    out.cpuid = xen::read_cpuid(out.from.guest.type, source.root);
    out.identity.is_64_bit = runs_64_bit_kernel();
    out.irqbalance_runs = find_irqbalance(source.root);
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

channels::fact_source source_at(const std::string& root) {
  // Users post single files.
  for (const std::string_view path : {channels::captured_log, std::string_view("/proc/stat")})
    if (!root.empty() && system_root(root).exists(path))
      return {.root = system_root(root), .is_capture = true};
  return channels::place_at(root);
}

guest_snapshot take_channel_snapshot(const channels::fact_source& source) {
  guest_snapshot out;
  out.is_capture = source.is_capture;
  out.is_whole_capture = source.is_capture && source.root.exists(channels::captured_about);
  out.from = channels::read_raw_facts(source);
  out.kernel = release_in(source.root.read("/proc/version").value_or(""));
  out.log = read_kernel_log(source.root);
  out.identity = identify_guest(out.from, out.kernel, out.log);
  // Both this system and the captures of xenpv-evtchn show whether the domain is the control
  // domain.
  const bool shows_role =
      !source.is_capture || out.is_whole_capture || source.root.exists("/proc/xen/capabilities");
  if (out.identity.role == domain_role::unknown && shows_role)
    out.identity.role = domain_role::guest;
  out.channels = channels::make_inventory(out.from);
  return out;
}

guest_snapshot take_snapshot(const channels::fact_source& source) {
  const auto start = std::chrono::steady_clock::now();
  const auto& root = source.root;
  auto times = probe::read_cpu_times(root);
  const auto uptime = read_uptime(root);
  auto out = take_channel_snapshot(source);
  out.cpu_times = std::move(times);
  out.uptime = uptime;
  out.is_simulated = !source.is_capture && std::getenv("XENPV_SIM_DIR") != nullptr;
  out.command_line = root.read("/proc/cmdline");
  out.online =
      read_online(root, out.from.interrupts.value ? &*out.from.interrupts.value : nullptr, out.log);
  out.clock = probe::read_clock_facts(root);
  out.hotplug_states = root.read("/sys/devices/system/cpu/hotplug/states");
  out.grants = read_grant_use(root, source.is_capture);
  out.devices = read_xenbus_devices(root);
  out.networks = read_network_interfaces(root);
  read_store_of_devices(source, out);
  try_out(source, out);
  if (root.is_real()) {
    std::this_thread::sleep_until(start + shortest_interval);
    read_frontends_again(source, out);
    extend_cpu_sample(out, source, start);
  } else if (const auto captured = root.read(channels::captured_times)) {
    out.later_times = parse_cpu_sample(*captured);
  }
  return out;
}

void extend_cpu_sample(guest_snapshot& snapshot, const channels::fact_source& source,
                       std::chrono::steady_clock::time_point start) {
  if (source.is_capture) return;
  snapshot.later_times = {.times = probe::read_cpu_times(source.root),
                          .interval = std::chrono::steady_clock::now() - start};
}

std::vector<check_result> run_checks(const guest_snapshot& snapshot) {
  std::vector<check_result> out;
  for (const auto& row : row_table())
    if (row.check != nullptr && (snapshot.on_xen() || row.applies_outside_xen))
      row.check(snapshot, out);
  return out;
}

}  // namespace xenpv::doctor
