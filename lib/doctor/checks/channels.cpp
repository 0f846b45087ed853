// Checks the event-channel ABI, and compares the number of ports in use with the limits.
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

// event_channel.h: EVTCHN_2L_NR_CHANNELS in a 64-bit guest, EVTCHN_FIFO_NR_CHANNELS.
constexpr std::uint64_t two_level_limit = 4096;
constexpr std::uint64_t fifo_limit = 131072;
/// Default of max_event_channels in xl.cfg. A guest cannot read the actual value.
constexpr std::uint64_t xl_default = 1023;

constexpr const char* fifo_message = "Using FIFO-based ABI";
constexpr const char* two_level_message = "Using 2-level ABI";

/// The kernel log takes precedence over the ABI inferred from /proc/interrupts.
std::optional<channels::event_abi> abi_of(const guest_snapshot& snapshot) {
  if (snapshot.log.find(fifo_message) != nullptr) return channels::event_abi::fifo;
  if (snapshot.log.find(two_level_message) != nullptr) return channels::event_abi::two_level;
  return snapshot.channels.abi;
}

void check_abi(const guest_snapshot& snapshot, check_results& out) {
  check_result result{.id = "event-abi"};
  const auto abi = abi_of(snapshot);
  const auto* line =
      snapshot.log.find(abi == channels::event_abi::two_level ? two_level_message : fifo_message);
  result.evidence.push_back(line != nullptr ? quote{"kernel log", *line}
                                            : log_quote(snapshot.log, fifo_message));
  if (snapshot.channels.abi)
    cite(result, "/proc/interrupts debug0",
         *snapshot.channels.abi == channels::event_abi::two_level ? "present: 2-level"
                                                                  : "absent: FIFO");
  if (!abi) {
    conclude(result, health::unknown, "the event-channel ABI cannot be determined",
             snapshot.log.problem.empty()
                 ? "reboot and re-run promptly: the kernel log has been overwritten"
                 : snapshot.log.problem);
  } else if (*abi == channels::event_abi::fifo) {
    conclude(result, health::pass,
             fmt::format("FIFO event channels: up to {} ports, with priorities", fifo_limit));
  } else {
    constexpr auto disabling = boot_option::no_fifo_events;
    const bool is_disabled = snapshot.was_booted_with(disabling);
    if (is_disabled) cite(result, "/proc/cmdline", to_string(disabling));
    conclude(result, health::warn,
             fmt::format("2-level event channels: at most {} ports, and no fairness between them",
                         two_level_limit),
             is_disabled
                 ? fmt::format("remove {} from the kernel command line", to_string(disabling))
                 : "Xen 4.4 and Linux 3.14 or newer support FIFO event channels, unless the "
                   "toolstack disables them");
  }
  out.push_back(std::move(result));
}

void check_use(const guest_snapshot& snapshot, check_results& out) {
  const bool exact = snapshot.from.ports.value.has_value();
  std::uint64_t used = exact ? snapshot.from.ports.value->size() : 0;
  if (!exact)
    for (const auto& channel : snapshot.channels.channels)
      if (channel.irq || channel.number) ++used;
  if (!exact && lacks_interrupts(snapshot, "event-channels",
                                 "the number of event channels in use cannot be determined", out))
    return;
  check_result result{.id = "event-channels"};
  const auto limit =
      abi_of(snapshot) == channels::event_abi::two_level ? two_level_limit : fifo_limit;
  result.evidence.push_back(
      exact ? quote{"EVTCHNOP_status", fmt::format("{} open ports", used)}
            : quote{"/proc/interrupts and xenstore", fmt::format("at least {} ports", used)});
  cite(result, "ABI limit (event_channel.h)", fmt::format("{}", limit));
  result.verdict = health::pass;
  result.summary = fmt::format("{}{} event channels in use; the ABI allows {}",
                               exact ? "" : "at least ", used, limit);
  if (used * 10 >= limit * 9) {
    result.verdict = health::fail;
    result.remedy =
        "binding a port will soon fail with ENOSPC: use fewer devices or queues, or FIFO events";
  } else if (used * 10 >= xl_default * 8 && !snapshot.from.guest.is_control_domain) {
    result.verdict = health::warn;
    cite(result, "default of max_event_channels (xl.cfg(5))", fmt::format("{}", xl_default));
    result.remedy =
        "the toolstack may limit this guest to 1023 (max_event_channels, which a guest cannot "
        "read): raise the limit before a bind fails with ENOSPC";
  }
  out.push_back(std::move(result));
}

}  // namespace

void check_channels(const guest_snapshot& snapshot, check_results& out) {
  check_abi(snapshot, out);
  check_use(snapshot, out);
}

}  // namespace xenpv::doctor
