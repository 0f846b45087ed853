// Checks the backends of domain 0 and driver domains: their states, and the events that they
// receive from frontends. Spurious events are a sign of a malicious or broken guest
// (Documentation/ABI/testing/sysfs-devices-xenbus, Linux 5.10). Older kernels have no counters.
//
// A backend stays in Initialising until its hotplug script has finished, and in InitWait until its
// frontend appears (qubes-issues#3186, #5887). netback leaves InitWait only when its hotplug script
// has written hotplug-status=connected, too.
//
// A driver that reports an error may switch to Connected afterwards (netback calls
// xenbus_dev_fatal() and goes on), so the error node counts in every state.
#include <algorithm>

#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

using wire::xenbus_state;

/// The event that a backend in this state waits for; empty if there is none.
std::string_view wait_of(const xenbus_device& device, xenbus_state state) {
  if (state == xenbus_state::initialising) return "waits for its hotplug script";
  if (state == xenbus_state::init_wait)
    return device.name.starts_with("vif-") ? "waits for its frontend or hotplug script"
                                           : "waits for its frontend";
  if (state == xenbus_state::initialised) return "waits to connect";
  if (state == xenbus_state::closing) return "waits for its frontend to close";
  return {};
}

struct backend_notes {
  unsigned count = 0;
  unsigned with_counters = 0;
  unsigned with_state = 0;
  std::vector<std::string> waiting = {};
  std::vector<std::string> errors = {};
  std::vector<std::string> rogues = {};
  std::vector<std::string> wrapped = {};
};

void note_counters(const xenbus_device& device, backend_notes& notes, check_result& result) {
  if (!device.counters) return;
  ++notes.with_counters;
  const auto& counters = *device.counters;
  cite(result, fmt::format("/sys/bus/xen-backend/devices/{}/xenbus", device.name),
       fmt::format("{} events, {} spurious, EOIs delayed by {} jiffies", counters.events,
                   counters.spurious_events, counters.jiffies_eoi_delayed));
  // Both counters have 32 bits, so the number of events may have wrapped.
  if (counters.spurious_events > counters.events)
    notes.wrapped.push_back(device.name);
  else if (counters.spurious_events * 10 > counters.events && counters.spurious_events > 100)
    notes.rogues.push_back(device.name);
}

void note_error(const xenbus_device& device, backend_notes& notes, check_result& result) {
  if (device.error.empty()) return;
  notes.errors.push_back(fmt::format("{} ({}): {}", device.name,
                                     device.state.empty() ? "unknown state" : device.state,
                                     device.error));
  cite(result, fmt::format("error/{}/error", device.nodename), device.error);
}

void note_state(const xenbus_device& device, backend_notes& notes, check_result& result) {
  const auto state = parse_state_name(device.state);
  if (!state) return;
  ++notes.with_state;
  const auto wait = wait_of(device, *state);
  if (!wait.empty())
    notes.waiting.push_back(fmt::format("{} {} ({})", device.name, wait, device.state));
  if (wait.empty() && device.error.empty()) return;
  cite(result, fmt::format("/sys/bus/xen-backend/devices/{}/state", device.name), device.state);
}

std::string listed(const std::vector<std::string>& items) {
  constexpr std::size_t most = 4;
  const auto count = std::min(items.size(), most);
  auto out =
      fmt::format("{}", fmt::join(items.begin(), items.begin() + static_cast<long>(count), ", "));
  if (items.size() > most) out += fmt::format(", and {} more", items.size() - most);
  return out;
}

/// Errors and waits, which may be of the same backend.
void conclude_troubled(const backend_notes& notes, check_result& result) {
  std::vector<std::string> summaries;
  std::vector<std::string> remedies;
  if (!notes.errors.empty()) {
    summaries.push_back(fmt::format("{} reported an error: {}",
                                    counted(notes.errors.size(), "backend"), listed(notes.errors)));
    remedies.emplace_back(
        "the number before an error is an errno, and the text names the node or the operation; a "
        "connected backend may work after an earlier error: check the device in its guest");
  }
  if (!notes.waiting.empty()) {
    summaries.push_back(fmt::format(
        "{} not connected: {}", counted(notes.waiting.size(), "backend"), listed(notes.waiting)));
    remedies.emplace_back(
        "a guest without a PV driver leaves its backend in InitWait; otherwise, read the guest's "
        "console and the logs of the hotplug scripts (/var/log/xen, journalctl)");
  }
  conclude(result, health::warn, fmt::format("{}", fmt::join(summaries, "; ")),
           fmt::format("{}", fmt::join(remedies, ". ")));
}

void conclude_notes(const backend_notes& notes, check_result& result) {
  if (!notes.errors.empty() || !notes.waiting.empty()) return conclude_troubled(notes, result);
  if (!notes.rogues.empty())
    return conclude(
        result, health::warn,
        fmt::format("more than a tenth of the events for {} were spurious", listed(notes.rogues)),
        "the frontend domain is broken or malicious; the kernel already delays its "
        "events (spurious_threshold)");
  if (!notes.wrapped.empty())
    return conclude(result, health::unknown,
                    fmt::format("the event counters of {} have wrapped", listed(notes.wrapped)),
                    "read /sys/bus/xen-backend/devices/*/xenbus twice and compare the differences");
  if (notes.with_state < notes.count && notes.with_counters == 0)
    return conclude(
        result, health::unknown,
        fmt::format("the states of {} cannot be determined", counted(notes.count, "backend")),
        "xenstore-ls /local/domain/0/backend shows them");
  conclude(result, health::pass,
           notes.with_counters == 0
               ? fmt::format("{}, none of which waits for its frontend or a hotplug script; this "
                             "kernel does not count spurious events",
                             counted(notes.count, "backend"))
               : fmt::format("the frontends of {} send few spurious events",
                             counted(notes.with_counters, "backend")));
}

}  // namespace

void check_back_ends(const guest_snapshot& snapshot, check_results& out) {
  check_result result{.id = "back-ends"};
  backend_notes notes;
  // Errors first: only the first quotes are kept.
  for (const auto& device : snapshot.devices)
    if (device.is_backend) note_error(device, notes, result);
  for (const auto& device : snapshot.devices) {
    if (!device.is_backend) continue;
    ++notes.count;
    note_state(device, notes, result);
    note_counters(device, notes, result);
  }
  if (notes.count == 0) return;
  conclude_notes(notes, result);
  constexpr std::size_t most = 8;
  if (result.evidence.size() > most) result.evidence.resize(most);
  cite(result, "/sys/bus/xen-backend/devices", fmt::format("{} in total", notes.count));
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
