// Reports the domain type, or that this machine is not a Xen domain.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

std::string platform_text(const guest_snapshot& snapshot) {
  if (!snapshot.hypervisor_elsewhere)
    return "this processor does not show which hypervisor runs it, if any";
  if (snapshot.hypervisor_elsewhere->empty())
    return "bare metal, or a hypervisor that does not identify itself";
  return "the hypervisor is " + *snapshot.hypervisor_elsewhere;
}

check_result elsewhere(const guest_snapshot& snapshot) {
  check_result out{.id = "domain"};
  const bool is_known = !snapshot.is_capture || snapshot.hypervisor_elsewhere;
  if (!is_known && snapshot.from.interrupts.is_malformed)
    conclude(
        out, health::unknown,
        "whether this is a Xen domain cannot be determined, because /proc/interrupts cannot be "
        "parsed",
        "see row unparsed; the start of the kernel log and /sys/hypervisor/type show it");
  else
    conclude(
        out, health::unknown,
        is_known ? "not a Xen domain: " + platform_text(snapshot)
                 : "nothing in the capture shows a Xen domain, or which hypervisor runs it, if "
                   "any",
        is_known ? "only checks that apply to any machine were run; --root DIR checks a capture "
                   "of a guest"
                 : "the start of the kernel log, the complete /proc/interrupts and "
                   "/sys/hypervisor/type show it");
  cite(out, "/sys/hypervisor/type", "absent or not \"xen\"");
  if (snapshot.hypervisor_elsewhere && !snapshot.hypervisor_elsewhere->empty())
    cite(out, "CPUID 0x40000000", *snapshot.hypervisor_elsewhere);
  return out;
}

/// "the control domain (dom0), PV", "HVM guest", "ARM domain (guest or dom0)". On ARM, the kernel
/// reports the type HVM or Xen, which is meaningless there (drivers/xen/sys-hypervisor.c).
std::string kind_text(const guest_snapshot& snapshot) {
  const auto& guest = snapshot.from.guest;
  const bool is_known = guest.type != xen::guest_type::unknown;
  const std::string type = snapshot.identity.machine == architecture::arm ? "ARM"
                           : is_known ? std::string(to_string(guest.type))
                                      : "";
  if (snapshot.identity.role == domain_role::control_domain)
    return "the control domain (dom0)" + (type.empty() ? std::string(",") : ", " + type);
  const std::string_view noun =
      snapshot.identity.role == domain_role::guest ? "guest" : "domain (guest or dom0)";
  return type.empty() ? fmt::format("a {} of unknown type", noun)
                      : fmt::format("{} {}", type, noun);
}

}  // namespace

void check_domain(const guest_snapshot& snapshot, check_results& out) {
  if (!snapshot.on_xen()) return out.push_back(elsewhere(snapshot));
  const auto& guest = snapshot.from.guest;
  check_result result{.id = "domain", .verdict = health::pass};
  result.summary = fmt::format("{} on Xen {}, Linux {}", kind_text(snapshot),
                               guest.xen_version.value_or("(unknown version)"),
                               snapshot.kernel.empty() ? "(unknown release)" : snapshot.kernel);
  if (!snapshot.online.empty()) result.summary += ", " + counted(snapshot.online.size(), "CPU");
  if (snapshot.is_simulated) result.summary += ", simulated by xenpv-sim";
  if (snapshot.identity.type_source)
    result.evidence.push_back(*snapshot.identity.type_source);
  else
    cite(result, "/sys/hypervisor/guest_type", "absent or unknown");
  if (guest.xen_version) cite(result, "Xen version", *guest.xen_version);
  if (snapshot.identity.role_source) result.evidence.push_back(*snapshot.identity.role_source);
  if (guest.type == xen::guest_type::unknown && snapshot.identity.machine != architecture::arm)
    conclude(result, health::unknown, result.summary,
             "Linux 4.13 and newer report the type; the start of the kernel log also shows it "
             "(\"Booting paravirtualized kernel on Xen\")");
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
