// What xenpv's own programs need of the kernel: device nodes, and the right to use them.
#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

/// In a capture there are no device nodes; of a live system each one counts.
std::string state_of(const xen::xen_device& device) {
  if (!device.present) return "absent";
  return device.accessible ? "there" : "there, but not for this user";
}

finding judge_hypercalls(const examination& of) {
  finding found{.id = "hypercalls", .verdict = health::pass};
  const auto& ports = of.from.ports;
  cite(found, "EVTCHNOP_status through /dev/xen/privcmd", ports.value ? "works" : ports.problem);
  found.summary = ports.value ? "programs may ask the hypervisor"
                              : "programs may not ask the hypervisor, as is usual in a guest since "
                                "XSA-482: ports are known from xenstore, not from Xen";
  if (!ports.value)
    found.cure = "xen_privcmd.unrestricted=1 on the kernel's command line, for diagnosis";
  return found;
}

}  // namespace

void check_devices(const examination& of, findings& out) {
  if (of.is_capture || of.from.guest.devices.empty()) return;  // no device nodes in an archive
  finding found{.id = "devices", .verdict = health::pass};
  std::string missing;
  std::string closed;
  for (const auto& device : of.from.guest.devices) {
    cite(found, device.path, state_of(device));
    auto& list = !device.present ? missing : closed;
    if (device.present && device.accessible) continue;
    list += (list.empty() ? "" : ", ") + device.path;
  }
  found.summary = "all device nodes that xenpv uses are there";
  if (!missing.empty()) {
    found.verdict = health::warn;
    found.summary = fmt::format("{} missing: what needs them does not run", missing);
    found.cure = fmt::format("{}", fmt::join(xen::missing_device_cures(of.from.guest), "; "));
  } else if (!closed.empty()) {
    found.verdict = health::unknown;
    found.summary = fmt::format("this user may not open {}", closed);
    found.cure = "start as root, or have a udev rule give them to a group";
  }
  out.push_back(std::move(found));
  out.push_back(judge_hypercalls(of));
}

}  // namespace xenpv::diag
