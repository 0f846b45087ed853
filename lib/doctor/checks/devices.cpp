// The device nodes that xenpv's own programs need, and the permission to use them.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

/// The state of a device node; a capture has none.
std::string state_of(const xen::xen_device& device) {
  if (!device.present) return "absent";
  return device.accessible ? "present" : "present, but not accessible to this user";
}

check_result judge_hypercalls(const guest_snapshot& snapshot) {
  check_result result{.id = "hypercalls", .verdict = health::pass};
  const auto& ports = snapshot.from.ports;
  cite(result, "EVTCHNOP_status through /dev/xen/privcmd", ports.value ? "works" : ports.problem);
  result.summary = ports.value
                       ? "programs may query the hypervisor"
                       : "programs may not query the hypervisor, as is usual in a guest since "
                         "XSA-482: ports are known from xenstore, not from Xen";
  if (!ports.value)
    result.remedy = "xen_privcmd.unrestricted=1 on the kernel's command line, for diagnosis";
  return result;
}

}  // namespace

void check_devices(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.is_capture || snapshot.from.guest.devices.empty())
    return;  // no device nodes in an archive
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
    result.verdict = health::warn;
    result.summary = fmt::format("{} missing: programs that need them cannot run", missing);
    result.remedy =
        fmt::format("{}", fmt::join(xen::missing_device_cures(snapshot.from.guest), "; "));
  } else if (!closed.empty()) {
    result.verdict = health::unknown;
    result.summary = fmt::format("this user may not open {}", closed);
    result.remedy = "start as root, or grant a group access with a udev rule";
  }
  out.push_back(std::move(result));
  out.push_back(judge_hypercalls(snapshot));
}

}  // namespace xenpv::doctor
