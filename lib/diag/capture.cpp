#include "xenpv/diag/capture.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>

#include "diag/captured.hpp"
#include "xenpv/diag/channel_kind.hpp"

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

/// Ports and where they lead; nothing else a toolstack may have put there.
store_nodes ports_only(const store_nodes& nodes) {
  store_nodes out;
  for (const auto& [path, value] : nodes) {
    const auto leaf = path.substr(path.rfind('/') + 1);
    if (leaf == "port" || leaf == "backend-id" || leaf == "state" ||
        leaf.starts_with("event-channel"))
      out.emplace(path, value);
  }
  return out;
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
        "/sys/module/xen_gntalloc/parameters/limit"})
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
  if (const auto ports = read_ports(place); ports.value) {
    std::string lines;
    for (const auto& each : *ports.value)
      lines += xen::format_lsevtchn(each) + "\n";
    out.add(captured_ports, std::move(lines));
  }
  const bool of_all_domains = xen::read_guest_facts(place.root).is_control_domain;
  if (const auto store = read_store(place, of_all_domains); store.value)
    out.add(captured_store, format_store_listing(ports_only(*store.value)));
  out.add(captured_holders, format_port_holders(read_port_holders(place.root)));
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  out.add(captured_about, fmt::format("time {:%FT%TZ}\n", fmt::gmtime(now)));
  return out.finish();
}

}  // namespace xenpv::diag
