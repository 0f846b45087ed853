#include "xenpv/diag/capture.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>

#include "diag/captured.hpp"
#include "diag/notes.hpp"
#include "diag/words.hpp"
#include "xenpv/base/block_device_users.hpp"
#include "xenpv/diag/channel_kind.hpp"
#include "xenpv/diag/examination.hpp"

namespace xenpv::diag {
namespace {

class collector {
 public:
  explicit collector(const system_root& root) : root_(root) {}

  void take(const std::string& path) {
    if (auto content = root_.read(path)) files_.push_back({path, *std::move(content) + "\n"});
  }
  /// `names` in each sub-folder of `folder`.
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

/// Ports, where they lead, and what the ends of a disk offer; nothing else a toolstack may have put
/// there.
store_nodes own_words_only(const store_nodes& nodes) {
  store_nodes out;
  for (const auto& [path, value] : nodes) {
    const auto leaf = path.substr(path.rfind('/') + 1);
    if (leaf == "port" || leaf == "backend" || leaf == "backend-id" || leaf == "state" ||
        leaf.ends_with("ring-page-order") || leaf.starts_with("event-channel") ||
        leaf.starts_with("feature-") || leaf.starts_with("multi-queue-"))
      out.emplace(path, value);
  }
  return out;
}

/// Words of the kernel's command line that findings quote; what else stands there is not ours.
std::string own_boot_words(std::string_view line) {
  std::string out;
  while (const auto word = next_word(line))
    if (word->starts_with("xen") || word->starts_with("clocksource=") || word->starts_with("tsc="))
      out += fmt::format("{}{}", out.empty() ? "" : " ", *word);
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
  // Which disks the kernel drives, and as what: links and folders in the guest, files in the
  // archive.
  for (const auto& device : root.names("/sys/bus/xen/devices")) {
    if (const auto path = fmt::format("/sys/bus/xen/devices/{}/driver", device); root.exists(path))
      out.add(path, "\n");
    if (const auto name = xen_block_device(device, root))
      out.add(fmt::format("/sys/bus/xen/devices/{}/block/{}", device, *name), "\n");
  }
}

/// What was asked and tried instead of read.
void add_answers(collector& out, const reading_place& place, const examination& of) {
  if (of.from.ports.value) {
    std::string lines;
    for (const auto& each : *of.from.ports.value)
      lines += xen::format_lsevtchn(each) + "\n";
    out.add(captured_ports, std::move(lines));
  }
  if (of.from.store.value) {
    auto nodes = *of.from.store.value;
    nodes.merge(read_disk_backends(place, nodes));
    out.add(captured_store, format_store_listing(own_words_only(nodes)));
  }
  out.add(captured_holders, format_port_holders(of.from.holders));
  if (of.log.problem.empty())
    out.add(captured_log, format_kernel_log(without_foreign_lines(of.log)));
  out.add(captured_grants, format_grant_use(of.grants));
  out.add(captured_trials, format_notes(of));
}

void take_devices(collector& out) {
  for (const auto* bus : {"/sys/bus/xen/devices", "/sys/bus/xen-backend/devices"})
    out.take_from_each(
        bus, {"nodename", "devtype", "state", "xenbus/event_channels", "xenbus/events",
              "xenbus/spurious_events", "xenbus/jiffies_eoi_delayed", "xenbus/spurious_threshold"});
}

void take_machine(collector& out) {
  for (const auto* path :
       {"/sys/hypervisor/type", "/sys/hypervisor/guest_type", "/sys/hypervisor/version/major",
        "/sys/hypervisor/version/minor", "/sys/hypervisor/version/extra", "/proc/xen/capabilities",
        "/proc/xen/xsd_port", "/proc/stat", "/proc/version", "/proc/timer_list",
        "/proc/irq/default_smp_affinity", "/sys/devices/system/cpu/online",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        "/sys/devices/system/clocksource/clocksource0/available_clocksource",
        "/sys/devices/system/cpu/hotplug/states", "/sys/module/xen_gntalloc/parameters/limit",
        "/sys/module/xen_gntdev/parameters/limit"})
    out.take(path);
  out.take_from_each("/sys/devices/system/clockevents", {"current_device"});
  out.take_from_each("/sys/devices/system/node", {"cpulist"});
}

}  // namespace

std::vector<captured_file> collect_capture(const reading_place& place) {
  collector out(place.root);
  // First and alone: the rest takes time, and these counts are what the reader compares.
  out.take("/proc/interrupts");
  out.take_from_each("/proc/irq", {"smp_affinity_list", "effective_affinity_list", "spurious"});
  out.take_from_each("/sys/kernel/irq", {"actions", "chip_name", "name", "type"});
  take_machine(out);
  take_devices(out);
  take_disks(out, place.root);
  if (const auto line = place.root.read("/proc/cmdline"))
    out.add("/proc/cmdline", own_boot_words(*line));
  add_answers(out, place, examine(place));
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  out.add(captured_about, fmt::format("time {:%FT%TZ}\n", fmt::gmtime(now)));
  return out.finish();
}

}  // namespace xenpv::diag
