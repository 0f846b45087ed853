// Checks the event-channel ABI, and compares the number of ports in use with the limits. Without
// evidence for the ABI, there is no limit.
#include <algorithm>

#include "doctor/checks.hpp"
#include "doctor/event_abi.hpp"

namespace xenpv::doctor {
namespace {

using channels::event_abi;

// event_channel.h: EVTCHN_2L_NR_CHANNELS, which depends on the width of the kernel, and
// EVTCHN_FIFO_NR_CHANNELS.
constexpr std::uint64_t narrow_two_level_limit = 1024;
constexpr std::uint64_t two_level_limit = 4096;
constexpr std::uint64_t fifo_limit = 131072;
/// Default of max_event_channels in xl.cfg. A guest cannot read the actual value.
constexpr std::uint64_t xl_default = 1023;

std::string remedy_for_unknown_abi(const guest_snapshot& snapshot) {
  if (snapshot.is_capture && !snapshot.log.is_complete)
    return "the start of the kernel log shows it (\"Using FIFO-based ABI\" or \"Using 2-level "
           "ABI\")";
  if (!snapshot.log.problem.empty()) return snapshot.log.problem;
  if (snapshot.log.is_complete)
    return "the kernel log of Linux 3.14 or newer contains the line \"Using FIFO-based ABI\" or "
           "\"Using 2-level ABI\"; this log does not";
  return "reboot and re-run promptly: the start of the kernel log, which shows the ABI, is missing";
}

/// The guest's owner can change only the kernel command line and, at best, the kernel.
std::string improvement_of_two_level(const guest_snapshot& snapshot) {
  const auto linux_release = parse_release(snapshot.kernel);
  if (linux_release && *linux_release < first_fifo_release)
    return "a kernel of Linux 3.14 or newer supports FIFO event channels, on Xen 4.4 or newer";
  return "FIFO event channels require Xen 4.4 or newer, and a toolstack that allows them";
}

void check_abi(const guest_snapshot& snapshot, const abi_finding& finding, check_results& out) {
  check_result result{.id = "event-abi"};
  result.evidence = finding.evidence;
  if (result.evidence.empty() || !finding.abi)
    result.evidence.push_back(log_quote(snapshot.log, fifo_abi_message));
  if (!finding.abi) {
    conclude(result, health::unknown, "the event-channel ABI cannot be determined",
             remedy_for_unknown_abi(snapshot));
    return out.push_back(std::move(result));
  }
  if (*finding.abi == event_abi::fifo) {
    conclude(result, health::pass,
             fmt::format("FIFO event channels: up to {} ports, with priorities", fifo_limit));
    return out.push_back(std::move(result));
  }
  constexpr auto disabling = boot_option::no_fifo_events;
  const std::string summary = "2-level event channels: fewer ports, and no fairness between them";
  if (snapshot.was_booted_with(disabling)) {
    cite(result, "/proc/cmdline", to_string(disabling));
    conclude(result, health::warn, summary,
             fmt::format("remove {} from the kernel command line", to_string(disabling)));
  } else {
    conclude(result, health::pass, summary, improvement_of_two_level(snapshot));
  }
  out.push_back(std::move(result));
}

/// The limit of the ABI.
struct port_limit {
  std::uint64_t ports = 0;
  bool is_certain = false;  ///< false: `ports` is the lowest limit that is possible
  std::string reason = {};
};

port_limit limit_of(const guest_snapshot& snapshot, std::optional<event_abi> abi) {
  if (abi == event_abi::fifo) return {fifo_limit, true, "FIFO"};
  // On ARM, xen_ulong_t has 64 bits in 32-bit kernels too (arch-arm.h).
  const auto width = snapshot.identity.machine == architecture::arm ? std::optional(true)
                                                                    : snapshot.identity.is_64_bit;
  const bool is_narrow = width == false;
  if (abi && width)
    return {is_narrow ? narrow_two_level_limit : two_level_limit, true,
            is_narrow ? "2-level, 32-bit kernel" : "2-level, 64-bit kernel"};
  if (width == true) return {two_level_limit, false, "the lowest of a 64-bit kernel"};
  return {narrow_two_level_limit, false, "the lowest of any kernel"};
}

void judge_use(const guest_snapshot& snapshot, std::uint64_t used, bool exact,
               const port_limit& limit, check_result& result) {
  const auto ports =
      fmt::format("{}{} in use", exact ? "" : "at least ", counted(used, "event channel"));
  result.verdict = health::pass;
  result.summary = limit.is_certain
                       ? fmt::format("{}; the ABI allows {}", ports, limit.ports)
                       : fmt::format("{}; every ABI allows at least {}", ports, limit.ports);
  if (used * 10 >= limit.ports * 9) {
    result.verdict = limit.is_certain ? health::fail : health::unknown;
    result.remedy = limit.is_certain ? "binding a port will soon fail with ENOSPC: use fewer "
                                       "devices or queues, or FIFO events"
                                     : "the limit cannot be determined: see row event-abi";
    if (!limit.is_certain)
      result.summary = fmt::format("{}; the limit of the ABI cannot be determined", ports);
  } else if (limit.is_certain && used * 10 >= limit.ports * 8) {
    result.verdict = health::warn;
    result.remedy = "use fewer devices or queues, or FIFO events, before a bind fails with ENOSPC";
  } else if (used * 10 >= xl_default * 8 && !snapshot.from.guest.is_control_domain) {
    result.verdict = health::warn;
    cite(result, "default of max_event_channels (xl.cfg(5))", fmt::format("{}", xl_default));
    result.remedy =
        "the toolstack may limit this guest to 1023 (max_event_channels, which a guest cannot "
        "read): raise the limit before a bind fails with ENOSPC";
  }
}

void check_use(const guest_snapshot& snapshot, std::optional<event_abi> abi, check_results& out) {
  const bool exact = snapshot.from.ports.value.has_value();
  std::uint64_t used = exact ? snapshot.from.ports.value->size() : 0;
  if (!exact)
    for (const auto& channel : snapshot.channels.channels)
      if (channel.irq || channel.number) ++used;
  constexpr const char* unknown = "the number of event channels in use cannot be determined";
  if (!exact && lacks_interrupts(snapshot, "event-channels", unknown, out)) return;
  if (used == 0)
    return add_unknown(out, "event-channels", unknown,
                       {"/proc/interrupts and xenstore", "no event channel"},
                       "the guest's complete /proc/interrupts lists them");
  check_result result{.id = "event-channels"};
  const auto limit = limit_of(snapshot, abi);
  result.evidence.push_back(
      exact ? quote{"EVTCHNOP_status", counted(used, "open port")}
            : quote{"/proc/interrupts and xenstore", "at least " + counted(used, "port")});
  judge_use(snapshot, used, exact, limit, result);
  cite(result, "ABI limit (event_channel.h)",
       fmt::format("{}{} ({})", limit.is_certain ? "" : "at least ", limit.ports, limit.reason));
  out.push_back(std::move(result));
}

}  // namespace

void check_channels(const guest_snapshot& snapshot, check_results& out) {
  const auto finding = find_event_abi(snapshot);
  check_abi(snapshot, finding, out);
  check_use(snapshot, finding.abi, out);
}

}  // namespace xenpv::doctor
