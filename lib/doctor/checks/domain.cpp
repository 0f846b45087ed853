// Reports the domain type, or that this machine is not a Xen domain.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

check_result elsewhere(const guest_snapshot& snapshot) {
  check_result out{.id = "domain"};
  conclude(
      out, health::unknown,
      snapshot.hypervisor_elsewhere.empty()
          ? "not a Xen domain: bare metal, or a hypervisor that does not identify itself"
          : "not a Xen domain: the hypervisor is " + snapshot.hypervisor_elsewhere,
      "only checks that apply to any machine were run; --root DIR checks a capture of a guest");
  cite(out, "/sys/hypervisor/type", "absent or not \"xen\"");
  if (!snapshot.hypervisor_elsewhere.empty())
    cite(out, "CPUID 0x40000000", snapshot.hypervisor_elsewhere);
  return out;
}

}  // namespace

void check_domain(const guest_snapshot& snapshot, check_results& out) {
  if (!snapshot.on_xen()) return out.push_back(elsewhere(snapshot));
  const auto& guest = snapshot.from.guest;
  check_result result{.id = "domain", .verdict = health::pass};
  const auto type = to_string(guest.type);
  result.summary = fmt::format("{}{} on Xen {}, Linux {}, {} CPUs",
                               guest.is_control_domain ? "the control domain (dom0), " : "",
                               guest.is_control_domain ? type : fmt::format("{} guest", type),
                               guest.xen_version.value_or("(unknown version)"),
                               snapshot.kernel.empty() ? "(unknown release)" : snapshot.kernel,
                               snapshot.online.size());
  cite(result, "/sys/hypervisor/guest_type", std::string(type));
  if (guest.xen_version) cite(result, "/sys/hypervisor/version", *guest.xen_version);
  if (guest.is_control_domain) cite(result, "/proc/xen/capabilities", "control_d");
  if (guest.type == xen::guest_type::unknown) {
    conclude(result, health::unknown, "a Xen domain, but the kernel does not report its type",
             "Linux 4.13 or newer reports it");
    result.evidence.front().value = "absent or unknown";
  }
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
