// Checks the PV devices of this guest other than disks: network, keyboard, framebuffer, console,
// PCI, 9pfs and so on. A frontend whose driver failed stays closed, and its error is kept in
// xenstore (xenbus_dev_error in drivers/xen/xenbus/xenbus_client.c; xen-devel, March 2022).
//
// netfront connects as soon as netback is in InitWait; netback stays there until its hotplug script
// writes hotplug-status=connected (backend_switch_state in drivers/net/xen-netback/xenbus.c; seen
// with Xen 4.17 and Linux 6.1).
#include <algorithm>
#include <unordered_map>

#include "base/words.hpp"
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

using wire::xenbus_state;

/// Toolstacks configure a keyboard and a framebuffer for HVM guests that have no backend for them;
/// the guest's kernel waits for these at boot (wait_for_devices) and goes on.
bool is_optional(const frontend_facts& device) {
  return device.type == "vkbd" || device.type == "vfb";
}

std::string_view use_of(std::string_view type) {
  if (type == "vif") return "the network interface";
  if (type == "pci") return "PCI passthrough";
  if (type == "console") return "the console";
  if (type == "9pfs") return "the shared file system";
  return "the device";
}

/// The remedy for a device whose backend closed or never connected.
std::string remedy_in_backend_domain(const frontend_facts& device) {
  return "read the kernel log for messages about " + device.name +
         ", and check that its backend domain runs";
}

std::string state_text(const frontend_facts& device) {
  std::string out(device.state ? to_string(*device.state) : "unknown");
  if (device.back_state) out += fmt::format(", its backend is {}", to_string(*device.back_state));
  return out;
}

void judge_unconnected(const frontend_facts& device, check_result& result) {
  const bool is_closed =
      device.state == xenbus_state::closed || device.state == xenbus_state::closing;
  if (device.driver == driver_binding::absent && !is_closed)
    return conclude(result, health::pass,
                    fmt::format("{} is not in use: no driver is bound to it", device.name));
  if (device.driver == driver_binding::absent)
    return conclude(
        result, health::warn,
        fmt::format("{} is {}, and no driver is bound to it", device.name, state_text(device)),
        "read the kernel log for the driver's messages about " + device.name);
  conclude(result, is_optional(device) ? health::warn : health::fail,
           is_closed ? fmt::format("{} is {}: {} does not work", device.name, state_text(device),
                                   use_of(device.type))
                     : fmt::format("{} is not connected ({}): {} does not work", device.name,
                                   state_text(device), use_of(device.type)),
           is_optional(device)
               ? "the host has no backend for this device: remove it from the guest's "
                 "configuration (vfb=, vnc=, vkb_device=) if boot is slow"
               : remedy_in_backend_domain(device));
}

std::string remedy_without_backend(const frontend_facts& device) {
  if (device.back_state == xenbus_state::closing || device.back_state == xenbus_state::closed)
    return remedy_in_backend_domain(device);
  auto out = fmt::format(
      "in the backend's domain, the {} has not finished: {}/var/log/xen and the node "
      "hotplug-status in {} show it",
      device.type == "vif" ? "hotplug script failed or" : "backend's program or hotplug script",
      device.type == "vif" ? "xl network-list, " : "", device.backend);
  if (!device.is_stuck)
    out +=
        ". A device that was attached just before may still be connecting: run xenpv-doctor again, "
        "or make another capture";
  return out;
}

/// Judges by the backend's state, because the frontend may connect first.
void judge_without_backend(const frontend_facts& device, check_result& result) {
  conclude(result, is_optional(device) ? health::warn : health::fail,
           fmt::format("{} is Connected, but its backend is {}: {} does not work", device.name,
                       to_string(*device.back_state), use_of(device.type)),
           remedy_without_backend(device));
}

void judge_failed(const frontend_facts& device, check_result& result) {
  const bool works =
      device.state == xenbus_state::connected || device.state == xenbus_state::reconfigured;
  if (works)
    return conclude(
        result, health::pass,
        fmt::format("{} is connected; an earlier attempt failed: {}", device.name, device.error));
  conclude(
      result, health::fail,
      fmt::format("{} does not work: its driver failed with error {}", device.name, device.error),
      device.error.find("event channel") != std::string::npos
          ? "the hypervisor refused the event channel to the backend's domain: check its "
            "security policy (XSM; SILO forbids connections between guests) and the limit "
            "max_event_channels"
          : "the number is an errno; the host's logs and the backend's domain show the cause");
}

/// Adds settings that would spread the load over more CPUs or need fewer packets: queues (netfront
/// uses one for each vCPU, up to 8 and the backend's limit: xennet_max_queues and setup_netfront in
/// drivers/net/xen-netfront.c; a single queue publishes no number), RPS, and TSO (netif.h:
/// feature-gso-tcpv4).
void judge_network(const guest_snapshot& snapshot, const frontend_facts& device,
                   check_result& result) {
  const auto cpus = static_cast<unsigned>(snapshot.online.size());
  const auto network =
      std::ranges::find(snapshot.networks, device.name, &network_interface::device);
  const bool is_known = network != snapshot.networks.end();
  std::vector<std::string> improvements;
  auto used = device.queues.value_or(1);
  if (!device.queues && is_known && network->rx_queues > 0) used = network->rx_queues;
  if (device.max_queues) {
    result.summary += fmt::format(", {} of {} queues", used, *device.max_queues);
    if (const auto most = std::min(cpus, *device.max_queues); used < most)
      improvements.push_back(
          fmt::format("a queue for each vCPU, up to {} (xen_netfront.max_queues; takes effect when "
                      "the device is attached)",
                      most));
  }
  if (is_known && network->uses_rps) {
    result.summary += *network->uses_rps ? ", RPS on" : ", RPS off";
    cite(result, fmt::format("/sys/class/net/{}/queues/rx-*/rps_cpus", network->name),
         *network->uses_rps ? "some CPUs" : "no CPU");
    if (!*network->uses_rps && used < cpus)
      improvements.push_back(
          fmt::format("RPS, which lets other CPUs process received packets: write a CPU mask to "
                      "/sys/class/net/{}/queues/rx-*/rps_cpus",
                      network->name));
  }
  if (device.accepts_tso == false)
    improvements.emplace_back("TCP segmentation offload, which this backend lacks");
  if (!improvements.empty())
    result.remedy = fmt::format("possible improvement: {}", fmt::join(improvements, "; "));
}

void judge_connected(const guest_snapshot& snapshot, const frontend_facts& device,
                     check_result& result) {
  conclude(result, health::pass, fmt::format("{} is connected", device.name));
  if (device.type == "vif") judge_network(snapshot, device, result);
}

/// The last line of the log about each device, "vif vif-0: ..." or "vif-0: ...".
using lines_by_device = std::unordered_map<std::string_view, const std::string*>;

lines_by_device index_log(const kernel_log& log) {
  lines_by_device out;
  for (const auto& line : log.lines) {
    std::string_view rest = line;
    for (int i = 0; i < 3; ++i) {
      auto word = next_word(rest);
      if (!word || !word->ends_with(':')) continue;
      word->remove_suffix(1);
      out[*word] = &line;
    }
  }
  return out;
}

check_result judge(const guest_snapshot& snapshot, const lines_by_device& log,
                   const frontend_facts& device) {
  check_result result{.id = "device-" + device.name};
  const bool works = device.state == xenbus_state::connected ||
                     device.state == xenbus_state::reconfiguring ||
                     device.state == xenbus_state::reconfigured;
  if (lacks_backend(device)) {
    judge_without_backend(device, result);
  } else if (!device.error.empty()) {
    judge_failed(device, result);
  } else if (!device.state) {
    conclude(result, health::unknown,
             fmt::format("whether {} is connected cannot be determined", device.name),
             snapshot.from.store.problem.empty()
                 ? "run as root: xenstore shows the state of the device"
                 : snapshot.from.store.problem);
  } else if (works) {
    judge_connected(snapshot, device, result);
  } else {
    judge_unconnected(device, result);
  }
  cite(result, device.state_source.empty() ? device.path + "/state" : device.state_source,
       device.state ? to_string(*device.state) : "cannot be read");
  if (device.back_state) cite(result, device.backend + "/state", to_string(*device.back_state));
  if (!device.error.empty()) cite(result, fmt::format("error/{}/error", device.path), device.error);
  if (result.verdict != health::pass)
    if (const auto line = log.find(device.name); line != log.end())
      cite(result, "kernel log", *line->second);
  return result;
}

}  // namespace

void check_frontends(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.frontends.empty()) return;
  const auto log = index_log(snapshot.log);
  for (const auto& device : snapshot.frontends)
    out.push_back(judge(snapshot, log, device));
}

}  // namespace xenpv::doctor
