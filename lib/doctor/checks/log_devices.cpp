// Checks the kernel log for errors that xenbus and the drivers of PV devices report, and for
// devices without a driver. One row per subject, only if the log has such lines.
//
// The log shows the past: an error of a device that is connected now is over.
//
// Sources: drivers/xen/xenbus/xenbus_probe_frontend.c (print_device_status), xenbus_client.c
// (xenbus_dev_error), drivers/block/xen-blkfront.c (blkfront_probe leaves an HVM guest's CD-ROM
// drive to the emulated driver), drivers/net/xen-netfront.c (talk_to_netback),
// drivers/pci/xen-pcifront.c; qubes-issues#199, #1328, #3217; the Amazon EC2 user guide,
// "Troubleshoot instances with failed status checks"; ubuntuforums.org, January 2012, "Ubuntu 11.10
// as XEN guest, kernel 3.0.0 network issue".
#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <set>

#include "base/words.hpp"
#include "doctor/log_lines.hpp"

namespace xenpv::doctor {
namespace {

/// "XENBUS: Timeout connecting to device: device/vfb/0 (local state 3, remote state 1)". Linux 2.6
/// does not name the device.
bool is_timeout(std::string_view line) {
  return contains(line, "Timeout connecting to device");
}

/// hdc and hdd, where toolstacks attach CD-ROM drives.
bool is_cd_rom(std::string_view device) {
  return device == "vbd-5632" || device == "vbd-5696";
}

/// The name of a backend has two numbers: "vif-76-0".
bool is_backend(std::string_view device) {
  return std::ranges::count(device, '-') > 1;
}

/// netfront closes a device without a MAC address, and does not try again (xenbus_dev_fatal).
bool lacks_address(const device_error& error) {
  return error.device.starts_with("vif-") && error.text.starts_with("parsing device/vif/") &&
         error.text.ends_with("/mac");
}

/// The host tried to detach the device; it still works.
bool is_in_use(const device_error& error) {
  return contains(error.text, "in use");
}

/// Returns whether each frontend is connected now, by name: "vif-0".
std::map<std::string, bool, std::less<>> frontends_now(const guest_snapshot& snapshot) {
  constexpr std::string_view disks = "device/vbd/";
  std::map<std::string, bool, std::less<>> out;
  for (const auto& device : snapshot.frontends)
    out[device.name] = device.state == wire::xenbus_state::connected ||
                       device.state == wire::xenbus_state::reconfigured;
  for (const auto& disk : snapshot.disks) {
    if (!disk.path.starts_with(disks)) continue;
    const auto state = disk.front.find("state");
    out["vbd-" + disk.path.substr(disks.size())] =
        state != disk.front.end() && state->second == "4";
  }
  return out;
}

/// The errors that drivers reported, except refusals by design, and their lines. The log shows only
/// the past, so the present state of a device determines the severity of its errors.
struct driver_errors {
  std::vector<device_error> all = {};
  line_list lines = {};
  bool lack_address = false;    ///< one is of a network interface that does not work now
  bool had_no_address = false;  ///< one is of a network interface
  bool are_in_use = false;      ///< one is of a device that the host tried to detach
  bool are_past = true;         ///< all devices are connected now
  bool are_of_backends = true;  ///< all devices are backends
};

driver_errors find_errors(const guest_snapshot& snapshot) {
  const auto frontends = frontends_now(snapshot);
  driver_errors out;
  for (const auto& line : snapshot.log.lines) {
    auto error = parse_device_error(line);
    if (!error || error->device.starts_with("pci")) continue;
    if (error->error == ENODEV && is_cd_rom(error->device)) continue;
    const auto frontend = frontends.find(error->device);
    const bool works = frontend != frontends.end() && frontend->second;
    // A device that is not among the known ones was detached.
    const bool is_gone = frontend == frontends.end() && !snapshot.frontends.empty();
    out.lack_address |= lacks_address(*error) && !works && !is_gone;
    out.had_no_address |= lacks_address(*error);
    out.are_in_use |= is_in_use(*error);
    out.are_past &= works && !is_in_use(*error);
    out.are_of_backends &= is_backend(error->device);
    out.lines.push_back(line);
    out.all.push_back(*std::move(error));
  }
  return out;
}

/// "vif-0, vif-1, vif-2, and 5 more".
std::string names_text(const std::vector<std::string>& names) {
  constexpr std::size_t most = 3;
  const auto shown = std::min(names.size(), most);
  auto out =
      fmt::format("{}", fmt::join(names.begin(), names.begin() + static_cast<long>(shown), ", "));
  if (names.size() > shown) out += fmt::format(", and {} more", names.size() - shown);
  return out;
}

/// "vif-0 (2 parsing device/vif/0/mac), console-1 (...)": one error per device.
std::string errors_text(const driver_errors& errors) {
  std::set<std::string_view> devices;
  std::vector<std::string> texts;
  for (const auto& error : errors.all)
    if (devices.insert(error.device).second)
      texts.push_back(fmt::format("{} ({} {})", error.device, error.error, error.text));
  return names_text(texts);
}

std::string remedy_for_errors(const driver_errors& errors) {
  if (errors.had_no_address)
    return "the toolstack wrote no MAC address to xenstore: set mac= of the network interface in "
           "the guest's configuration";
  if (errors.are_in_use)
    return "the host tried to detach a device that is in use: unmount its file systems, then "
           "detach it again";
  return fmt::format(
      "the number before the text is an errno: 2 means a missing node, 5 a xenstore failure; {} "
      "which devices work now",
      errors.are_of_backends ? "row back-ends shows" : "rows device-* and disk-* show");
}

void judge_errors(const driver_errors& errors, check_result& result) {
  const auto text = errors_text(errors);
  const auto remedy = remedy_for_errors(errors);
  if (errors.lack_address)
    return conclude(result, health::fail,
                    "a network interface does not work, because it has no MAC address: " + text,
                    remedy);
  if (errors.had_no_address)
    return conclude(
        result, health::warn,
        "a network interface had no MAC address, but is connected or detached now: " + text,
        remedy);
  if (errors.are_past)
    return conclude(
        result, health::pass,
        "the drivers of PV devices reported errors, but these devices are connected now: " + text);
  conclude(result, health::warn,
           errors.are_of_backends ? "backends of this domain reported errors: " + text
                                  : "the drivers of PV devices reported errors: " + text,
           remedy);
}

/// A device for which no driver was registered when the kernel checked.
struct driverless {
  std::string node = {};  ///< "device/vbd/2048"
  std::size_t line = 0;   ///< index in the log
};

/// Returns the nodes of the devices for which no later line shows the driver. The console, the
/// framebuffer and the CD-ROM drive need no frontend driver.
std::vector<std::string> devices_without_driver(const kernel_log& log) {
  constexpr std::string_view start = "XENBUS: Device with no driver: ";
  std::vector<driverless> found;
  std::size_t end_of_disks = 0;  // after the last line that shows blkfront
  std::size_t end_of_networks = 0;
  for (std::size_t i = 0; i < log.lines.size(); ++i) {
    const std::string_view line = log.lines[i];
    if (contains(line, "blkfront")) end_of_disks = i + 1;
    if (contains(line, "Xen virtual ethernet driver")) end_of_networks = i + 1;
    if (!line.starts_with(start)) continue;
    const auto node = trim(line.substr(start.size()));
    const bool is_disk =
        node.starts_with("device/vbd/") && node != "device/vbd/5632" && node != "device/vbd/5696";
    if (is_disk || node.starts_with("device/vif/"))
      found.push_back({.node = std::string(node), .line = i});
  }
  std::vector<std::string> out;
  for (auto& device : found)
    if (device.line >= (device.node.starts_with("device/vbd/") ? end_of_disks : end_of_networks))
      out.push_back(std::move(device.node));
  return out;
}

void judge_driverless(const guest_snapshot& snapshot, check_results& out) {
  if (!snapshot.frontends.empty() || !snapshot.disks.empty()) return;  // their rows show it
  const auto nodes = devices_without_driver(snapshot.log);
  if (nodes.empty()) return;
  check_result result{.id = "log-xenbus"};
  conclude(result, health::unknown,
           fmt::format("no driver was loaded for {} when the kernel looked for one, and the log "
                       "shows none later",
                       names_text(nodes)),
           "harmless if modules were loaded afterwards: lsmod and /sys/bus/xen/devices/*/driver "
           "show it. Otherwise, add xen-blkfront and xen-netfront to the initramfs, or boot a "
           "kernel with CONFIG_XEN_BLKDEV_FRONTEND and CONFIG_XEN_NETDEV_FRONTEND");
  line_list lines;
  for (const auto& node : nodes)
    lines.push_back("XENBUS: Device with no driver: " + node);
  cite_lines(result, lines);
  out.push_back(std::move(result));
}

void judge_timeouts(const line_list& timeouts, check_result& result) {
  const bool is_optional = std::ranges::all_of(timeouts, [](const std::string& line) {
    return contains(line, "device/vfb/") || contains(line, "device/vkbd/");
  });
  if (is_optional)
    conclude(result, health::warn,
             "boot waited for a framebuffer or keyboard that has no backend; nothing else is "
             "affected",
             "remove vfb= or vkb_device= from the guest's configuration");
  else
    conclude(result, health::warn, "boot waited for PV devices whose backends did not answer",
             "check in the backend's domain that the devices exist and that their hotplug scripts "
             "succeeded; rows device-* and disk-* show which devices work now");
}

void check_xenbus(const guest_snapshot& snapshot, check_results& out) {
  const auto timeouts = lines_with(snapshot, is_timeout);
  const auto errors = find_errors(snapshot);
  if (timeouts.empty() && errors.all.empty()) return judge_driverless(snapshot, out);
  check_result result{.id = "log-xenbus"};
  // Timeouts at boot are more significant than errors that have ended.
  if (errors.all.empty() || (!timeouts.empty() && errors.are_past && !errors.had_no_address))
    judge_timeouts(timeouts, result);
  else
    judge_errors(errors, result);
  cite_lines(result, timeouts);
  cite_lines(result, errors.lines);
  out.push_back(std::move(result));
}

bool is_pci_error(std::string_view line) {
  const auto error = parse_device_error(line);
  return (error && error->device.starts_with("pci")) ||
         (contains(line, "pcifront") && contains(line, "frontend error")) ||
         (contains(line, "pci frontend enable msi") && contains(line, "failed"));
}

void check_pci(const guest_snapshot& snapshot, check_results& out) {
  const auto lines = lines_with(snapshot, is_pci_error);
  if (lines.empty()) return;
  check_result result{.id = "log-pci"};
  conclude(
      result, health::warn,
      "the PCI frontend reported errors: a passed-through device may lack interrupts",
      "check in domain 0 that the device is assigned (xl pci-assignable-list), read its kernel "
      "log for pciback, and try permissive=1 or pci=nomsi");
  cite_lines(result, lines);
  out.push_back(std::move(result));
}

}  // namespace

void check_log_devices(const guest_snapshot& snapshot, check_results& out) {
  check_xenbus(snapshot, out);
  check_pci(snapshot, out);
}

}  // namespace xenpv::doctor
