// The event-channel ABI, and how many ports are in use of how many there can be.
#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

// event_channel.h: EVTCHN_2L_NR_CHANNELS of a 64-bit guest, EVTCHN_FIFO_NR_CHANNELS.
constexpr std::uint64_t two_level_limit = 4096;
constexpr std::uint64_t fifo_limit = 131072;
/// max_event_channels of xl.cfg, unless it says otherwise. Nothing in a guest tells what it says.
constexpr std::uint64_t xl_default = 1023;

constexpr const char* fifo_words = "Using FIFO-based ABI";
constexpr const char* two_level_words = "Using 2-level ABI";
constexpr const char* switch_word = "xen.fifo_events=0";

/// What the kernel said counts more than what is concluded from its rows.
std::optional<event_abi> abi_of(const examination& of) {
  if (of.log.find(fifo_words) != nullptr) return event_abi::fifo;
  if (of.log.find(two_level_words) != nullptr) return event_abi::two_level;
  return of.channels.abi;
}

void check_abi(const examination& of, findings& out) {
  finding found{.id = "event-abi"};
  const auto abi = abi_of(of);
  const auto* line = of.log.find(abi == event_abi::two_level ? two_level_words : fifo_words);
  found.evidence.push_back(line != nullptr ? quote{"kernel log", *line}
                                           : log_quote(of.log, fifo_words));
  if (of.channels.abi)
    cite(found, "/proc/interrupts debug0",
         *of.channels.abi == event_abi::two_level ? "present: 2-level" : "absent: FIFO");
  if (!abi) {
    found.summary = "the event-channel ABI cannot be seen";
    found.cure = of.log.problem.empty()
                     ? "boot again and look soon: the kernel's log has been overwritten"
                     : of.log.problem;
  } else if (*abi == event_abi::fifo) {
    found.verdict = health::pass;
    found.summary = fmt::format("FIFO event channels: up to {} ports, with priorities", fifo_limit);
  } else {
    found.verdict = health::warn;
    found.summary = fmt::format(
        "2-level event channels: at most {} ports, and no fairness between "
        "them",
        two_level_limit);
    const bool is_off = of.was_booted_with(switch_word);
    if (is_off) cite(found, "/proc/cmdline", switch_word);
    found.cure = is_off ? fmt::format("take {} off the kernel's command line", switch_word)
                        : "Xen 4.4 and Linux 3.14 or newer have FIFO event channels, unless the "
                          "toolstack forbids them";
  }
  out.push_back(std::move(found));
}

void check_use(const examination& of, findings& out) {
  finding found{.id = "event-channels"};
  const bool exact = of.from.ports.value.has_value();
  std::uint64_t used = exact ? of.from.ports.value->size() : 0;
  if (!exact)
    for (const auto& each : of.channels.channels)
      if (each.irq || each.number) ++used;
  if (!exact &&
      lacks_interrupts(of, "how many event channels are in use cannot be seen", found, out))
    return;
  const auto limit = abi_of(of) == event_abi::two_level ? two_level_limit : fifo_limit;
  found.evidence.push_back(
      exact ? quote{"EVTCHNOP_status", fmt::format("{} open ports", used)}
            : quote{"/proc/interrupts and xenstore", fmt::format("at least {} ports", used)});
  cite(found, "limit of the ABI (event_channel.h)", fmt::format("{}", limit));
  found.verdict = health::pass;
  found.summary = fmt::format("{}{} event channels in use, of {} that the ABI has",
                              exact ? "" : "at least ", used, limit);
  if (used * 10 >= limit * 9) {
    found.verdict = health::fail;
    found.cure = "binding a port fails with ENOSPC soon: fewer devices or queues, or FIFO events";
  } else if (used * 10 >= xl_default * 8 && !of.from.guest.is_control_domain) {
    found.verdict = health::warn;
    cite(found, "max_event_channels of xl.cfg(5), unless changed", fmt::format("{}", xl_default));
    found.cure =
        "the toolstack may allow no more than 1023 (max_event_channels), which cannot be read "
        "here: raise it before a bind fails with ENOSPC";
  }
  out.push_back(std::move(found));
}

}  // namespace

void check_channels(const examination& of, findings& out) {
  check_abi(of, out);
  check_use(of, out);
}

}  // namespace xenpv::diag
