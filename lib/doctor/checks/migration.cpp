// Checks for the effects of a migration or restore. Event-channel handles that were opened before
// the restore are dead, and closing one triggers a kernel BUG. The custodian, a helper process,
// keeps such handles open (xen/custodian.hpp).
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

/// Xen counts how often the guest's TSC is set up (tsc_set_info): once when the toolstack builds
/// the guest, and once more for each restore.
constexpr std::uint32_t incarnation_when_built = 1;

std::string holders_text(const std::vector<channels::port_holder>& holders) {
  std::string out;
  for (std::size_t i = 0; i < holders.size() && i < 6; ++i)
    out += fmt::format("{}{} ({})", i == 0 ? "" : ", ", holders[i].command, holders[i].pid);
  if (holders.size() > 6) out += fmt::format(", ... ({} processes)", holders.size());
  return out.empty() ? std::string("none") : out;
}

}  // namespace

void check_migration(const guest_snapshot& snapshot, check_results& out) {
  if (snapshot.from.guest.is_control_domain) return;
  constexpr const char* source = "CPUID base+3 EDX (incarnation)";
  if (!snapshot.cpuid)
    return add_unknown(
        out, "migration", "whether the guest was migrated or restored cannot be determined",
        {source, snapshot.is_capture ? "not in the capture" : "not available on this processor"},
        snapshot.is_capture ? "run xenpv-doctor in the guest itself"
                            : "only x86 guests have this counter");
  check_result result{.id = "migration", .verdict = health::pass};
  const auto incarnation = snapshot.cpuid->incarnation;
  cite(result, source, fmt::format("{}", incarnation));
  if (incarnation <= incarnation_when_built) {
    result.summary = "never migrated or restored since it was built";
    return out.push_back(std::move(result));
  }
  const auto times = incarnation - incarnation_when_built;
  cite(result, "/proc/*/fd of /dev/xen/evtchn", holders_text(snapshot.from.holders));
  if (snapshot.from.holders.empty()) {
    result.summary = fmt::format("migrated or restored {}; no process has /dev/xen/evtchn open",
                                 counted(times, "time"));
  } else {
    conclude(
        result, health::warn,
        fmt::format("migrated or restored {}, and {} /dev/xen/evtchn open", counted(times, "time"),
                    snapshot.from.holders.size() == 1
                        ? std::string("1 process has")
                        : fmt::format("{} processes have", snapshot.from.holders.size())),
        "event channels opened before the restore are dead, and closing them triggers a kernel "
        "BUG. xenpv's programs keep theirs open in a helper process, the custodian; leave other "
        "programs running until the guest is shut down");
  }
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
