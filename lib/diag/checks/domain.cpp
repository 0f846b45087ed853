// What this machine is: which kind of domain, or none.
#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

finding elsewhere(const examination& of) {
  finding out{.id = "domain", .verdict = health::unknown};
  out.summary = of.hypervisor_elsewhere.empty()
                    ? "no Xen domain: bare metal, or a hypervisor that does not tell"
                    : fmt::format("no Xen domain: this runs on {}", of.hypervisor_elsewhere);
  cite(out, "/sys/hypervisor/type", "absent or not \"xen\"");
  if (!of.hypervisor_elsewhere.empty()) cite(out, "CPUID 0x40000000", of.hypervisor_elsewhere);
  out.cure =
      "only what holds on any machine was looked at; --root DIR looks at a capture of a guest";
  return out;
}

}  // namespace

void check_domain(const examination& of, findings& out) {
  if (!of.on_xen()) {
    out.push_back(elsewhere(of));
    return;
  }
  const auto& guest = of.from.guest;
  finding found{.id = "domain", .verdict = health::pass};
  const auto type = to_string(guest.type);
  found.summary =
      fmt::format("{}{} on Xen {}, Linux {}, {} CPUs",
                  guest.is_control_domain ? "the control domain (dom0), " : "",
                  guest.is_control_domain ? type : fmt::format("{} guest", type),
                  guest.xen_version.value_or("of an unknown version"),
                  of.kernel.empty() ? "of an unknown release" : of.kernel, of.online.size());
  cite(found, "/sys/hypervisor/guest_type", std::string(type));
  if (guest.xen_version) cite(found, "/sys/hypervisor/version", *guest.xen_version);
  if (guest.is_control_domain) cite(found, "/proc/xen/capabilities", "control_d");
  if (guest.type == xen::guest_type::unknown) {
    found.verdict = health::unknown;
    found.summary = "a Xen domain, but the kernel does not say of which type";
    found.evidence.front().value = "absent or unknown";
    found.cure = "Linux 4.13 or newer says it";
  }
  out.push_back(std::move(found));
}

}  // namespace xenpv::diag
