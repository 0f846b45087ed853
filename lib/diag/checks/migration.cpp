// What a migration or a restore left behind: event-channel handles of processes that opened them
// before are dead for ever, and closing them is a kernel BUG (xen/custodian.hpp).
#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

/// Xen counts the settings of the guest's TSC: 1 when the toolstack has built it, one more with
/// each restore (tsc_set_info).
constexpr std::uint32_t incarnation_when_built = 1;

std::string holders_text(const std::vector<port_holder>& holders) {
  std::string out;
  for (std::size_t i = 0; i < holders.size() && i < 6; ++i)
    out += fmt::format("{}{} ({})", i == 0 ? "" : ", ", holders[i].command, holders[i].pid);
  if (holders.size() > 6) out += fmt::format(", ... ({} processes)", holders.size());
  return out.empty() ? std::string("none") : out;
}

}  // namespace

void check_migration(const examination& of, findings& out) {
  if (of.from.guest.is_control_domain) return;
  finding found{.id = "migration"};
  if (!of.cpuid) {
    found.summary = "whether the guest was migrated or restored cannot be seen";
    cite(found, "CPUID base+3 EDX (incarnation)",
         of.is_capture ? "not in the capture" : "not on this processor");
    found.cure = of.is_capture ? "start in the guest itself" : "x86 guests have the count";
    out.push_back(std::move(found));
    return;
  }
  const auto incarnation = of.cpuid->incarnation;
  cite(found, "CPUID base+3 EDX (incarnation)", fmt::format("{}", incarnation));
  found.verdict = health::pass;
  if (incarnation <= incarnation_when_built) {
    found.summary = "never migrated or restored since it was built";
    out.push_back(std::move(found));
    return;
  }
  const auto times = incarnation - incarnation_when_built;
  cite(found, "/proc/*/fd of /dev/xen/evtchn", holders_text(of.from.holders));
  if (of.from.holders.empty()) {
    found.summary =
        fmt::format("migrated or restored {} times; no process holds event channels", times);
  } else {
    found.verdict = health::warn;
    found.summary =
        fmt::format("migrated or restored {} times, and {} processes hold /dev/xen/evtchn", times,
                    of.from.holders.size());
    found.cure =
        "event channels that were opened before are dead, and closing them is a kernel BUG: "
        "programs of xenpv have a custodian that keeps them; others have to be left running "
        "until the guest is switched off";
  }
  out.push_back(std::move(found));
}

}  // namespace xenpv::diag
