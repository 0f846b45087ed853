// Checks whether the device nodes that xenpv's programs require exist, and whether this user can
// access them.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

std::string state_of(const xen::xen_device& device) {
  if (!device.present) return "absent";
  return device.accessible ? "present" : "present, but not accessible to this user";
}

check_result judge_hypercalls(const guest_snapshot& snapshot) {
  check_result result{.id = "hypercalls", .verdict = health::pass};
  const auto& ports = snapshot.from.ports;
  cite(result, "EVTCHNOP_status through /dev/xen/privcmd", ports.value ? "works" : ports.problem);
  result.summary = ports.value ? "programs can query the hypervisor"
                               : "programs cannot query the hypervisor, which is normal in a guest "
                                 "since XSA-482: ports are read from xenstore, not from Xen";
  if (!ports.value)
    result.remedy = "for diagnosis, add xen_privcmd.unrestricted=1 to the kernel command line";
  return result;
}

}  // namespace

void check_devices(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.is_capture || snapshot.from.guest.devices.empty())
    return;  // a capture does not contain device nodes
  check_result result{.id = "devices", .verdict = health::pass};
  std::string missing;
  std::string closed;
  for (const auto& device : snapshot.from.guest.devices) {
    cite(result, device.path, state_of(device));
    auto& list = !device.present ? missing : closed;
    if (device.present && device.accessible) continue;
    list += (list.empty() ? "" : ", ") + device.path;
  }
  result.summary = "all device nodes that xenpv uses are present";
  if (!missing.empty()) {
    conclude(result, health::warn,
             fmt::format("missing: {}; programs that require them cannot run", missing),
             fmt::format("{}", fmt::join(xen::missing_device_cures(snapshot.from.guest), "; ")));
  } else if (!closed.empty()) {
    conclude(result, health::unknown,
             fmt::format("this user does not have permission to open {}", closed),
             "run as root, or grant a group access with a udev rule");
  }
  out.push_back(std::move(result));
  out.push_back(judge_hypercalls(snapshot));
}

}  // namespace xenpv::doctor
