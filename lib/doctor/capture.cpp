#include "doctor/capture.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/block_device_users.hpp"
#include "base/words.hpp"
#include "channels/captured.hpp"
#include "channels/channel_kind.hpp"
#include "doctor/guest_snapshot.hpp"
#include "doctor/notes.hpp"

namespace xenpv::doctor {
namespace {

class collector {
 public:
  explicit collector(const system_root& root) : root_(root) {}

  void take(const std::string& path) {
    if (auto content = root_.read(path)) files_.push_back({path, *std::move(content) + "\n"});
  }
  /// Adds the files listed in `names` from each subdirectory of `folder`.
  void take_from_each(const std::string& folder, const std::vector<std::string>& names) {
    for (const auto& entry : root_.names(folder))
      for (const auto& name : names)
        take(fmt::format("{}/{}/{}", folder, entry, name));
  }
  void add(std::string_view path, std::string content) {
    files_.push_back({std::string(path), std::move(content)});
  }
  [[nodiscard]] std::vector<captured_file> finish() { return std::move(files_); }

 private:
  const system_root& root_;
  std::vector<captured_file> files_;
};

/// Keeps only ports, their remote ends, and the features that each end of a disk publishes.
channels::store_nodes filter_store_nodes(const channels::store_nodes& nodes) {
  channels::store_nodes out;
  for (const auto& [path, value] : nodes) {
    const auto leaf = path.substr(path.rfind('/') + 1);
    if (leaf == "port" || leaf == "backend" || leaf == "backend-id" || leaf == "state" ||
        leaf.ends_with("ring-page-order") || leaf.starts_with("event-channel") ||
        leaf.starts_with("feature-") || leaf.starts_with("multi-queue-") ||
        (leaf == "error" && path.starts_with("error/")) || leaf == "protocol")
      out.emplace(path, value);
  }
  return out;
}

/// Keeps only kernel command-line options that affect Xen or the clock, or that checks ask for.
std::string filter_boot_options(std::string_view line) {
  constexpr std::string_view related[] = {"xen", "clocksource=", "tsc="};
  std::string out;
  while (const auto word = next_word(line)) {
    const auto starts = [&](std::string_view prefix) { return word->starts_with(prefix); };
    if (std::ranges::any_of(related, starts) || std::ranges::any_of(boot_options, starts))
      out += fmt::format("{}{}", out.empty() ? "" : " ", *word);
  }
  return out + "\n";
}

void take_disks(collector& out, const system_root& root) {
  for (const auto& disk : root.names("/sys/block")) {
    if (!disk.starts_with("xvd")) continue;
    for (const auto* name : {"max_segments", "discard_max_bytes", "write_cache"})
      out.take(fmt::format("/sys/block/{}/queue/{}", disk, name));
    out.take_from_each(fmt::format("/sys/block/{}/mq", disk), {"cpu_list"});
  }
  for (const auto* name :
       {"max_queues", "max_ring_page_order", "max_indirect_segments", "feature_persistent"})
    out.take(fmt::format("/sys/module/xen_blkfront/parameters/{}", name));
  // Record the disks that the kernel driver uses, and their block devices. These paths are symbolic
  // links and directories in the guest, but plain files in the archive.
  for (const auto& device : root.names("/sys/bus/xen/devices")) {
    if (const auto path = fmt::format("/sys/bus/xen/devices/{}/driver", device); root.exists(path))
      out.add(path, "\n");
    if (const auto name = xen_block_device(device, root))
      out.add(fmt::format("/sys/bus/xen/devices/{}/block/{}", device, *name), "\n");
  }
}

/// Adds the results of queries and run-time probes.
void add_answers(collector& out, const channels::fact_source& source,
                 const guest_snapshot& snapshot) {
  if (snapshot.from.ports.value) {
    std::string lines;
    for (const auto& status : *snapshot.from.ports.value)
      lines += xen::format_lsevtchn(status) + "\n";
    out.add(channels::captured_ports, std::move(lines));
  }
  if (snapshot.from.store.value) {
    auto nodes = *snapshot.from.store.value;
    nodes.merge(read_disk_backends(source, nodes));
    nodes.merge(read_device_nodes(source, nodes, snapshot.devices));
    out.add(channels::captured_store, channels::format_store_listing(filter_store_nodes(nodes)));
  }
  out.add(channels::captured_holders, channels::format_port_holders(snapshot.from.holders));
  if (snapshot.log.problem.empty())
    out.add(channels::captured_log, format_kernel_log(without_foreign_lines(snapshot.log)));
  out.add(channels::captured_grants, format_grant_use(snapshot.grants));
  out.add(channels::captured_trials, format_notes(snapshot));
  if (snapshot.later_times)
    out.add(channels::captured_times, format_cpu_sample(*snapshot.later_times));
}

void take_devices(collector& out) {
  for (const auto* bus : {"/sys/bus/xen/devices", "/sys/bus/xen-backend/devices"})
    out.take_from_each(
        bus, {"nodename", "devtype", "state", "xenbus/event_channels", "xenbus/events",
              "xenbus/spurious_events", "xenbus/jiffies_eoi_delayed", "xenbus/spurious_threshold"});
}

/// Records the interfaces of PV network devices, which are directories in the guest, and the masks
/// that steer received packets to CPUs.
void take_networks(collector& out, const guest_snapshot& snapshot) {
  for (const auto& network : snapshot.networks) {
    out.add(fmt::format("/sys/bus/xen/devices/{}/net/{}", network.device, network.name), "\n");
    out.take_from_each(fmt::format("/sys/class/net/{}/queues", network.name), {"rps_cpus"});
  }
}

void take_machine(collector& out) {
  for (const auto* path :
       {"/sys/hypervisor/type", "/sys/hypervisor/guest_type", "/sys/hypervisor/version/major",
        "/sys/hypervisor/version/minor", "/sys/hypervisor/version/extra", "/proc/xen/capabilities",
        "/proc/xen/xsd_port", "/proc/version", "/proc/timer_list", "/proc/irq/default_smp_affinity",
        "/sys/devices/system/cpu/online",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        "/sys/devices/system/clocksource/clocksource0/available_clocksource",
        "/sys/devices/system/cpu/hotplug/states", "/sys/module/xen_gntalloc/parameters/limit",
        "/sys/module/xen_gntdev/parameters/limit"})
    out.take(path);
  out.take_from_each("/sys/devices/system/clockevents", {"current_device"});
  out.take_from_each("/sys/devices/system/node", {"cpulist"});
}

}  // namespace

std::vector<captured_file> collect_capture(const channels::fact_source& source) {
  collector out(source.root);
  // The second sample of the CPUs' times, at the end, is relative to this one.
  const auto start = std::chrono::steady_clock::now();
  out.take("/proc/stat");
  out.take("/proc/uptime");
  // Read /proc/interrupts early: its counts are compared with each other, and reading the other
  // files takes time.
  out.take("/proc/interrupts");
  out.take_from_each("/proc/irq", {"smp_affinity_list", "effective_affinity_list", "spurious"});
  out.take_from_each("/sys/kernel/irq", {"actions", "chip_name", "name", "type"});
  take_machine(out);
  take_devices(out);
  take_disks(out, source.root);
  if (const auto line = source.root.read("/proc/cmdline"))
    out.add("/proc/cmdline", filter_boot_options(*line));
  auto snapshot = take_snapshot(source);
  extend_cpu_sample(snapshot, source, start);
  take_networks(out, snapshot);
  add_answers(out, source, snapshot);
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  out.add(channels::captured_about, fmt::format("time {:%FT%TZ}\n", fmt::gmtime(now)));
  return out.finish();
}

}  // namespace xenpv::doctor
