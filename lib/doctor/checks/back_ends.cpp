// Checks the events that domain 0 and driver domains receive from frontends: spurious events are a
// sign of a malicious or broken guest (sysfs-devices-xenbus).
#include "doctor/checks.hpp"

namespace xenpv::doctor {

void check_back_ends(const guest_snapshot& snapshot, check_results& out) {
  check_result result{.id = "back-ends", .verdict = health::pass};
  unsigned count = 0;
  std::string rogues;
  for (const auto& device : snapshot.devices) {
    if (!device.is_backend || !device.counters) continue;
    ++count;
    const auto spurious = device.counters->spurious_events;
    const auto events = device.counters->events;
    cite(result, fmt::format("/sys/bus/xen-backend/devices/{}/xenbus", device.name),
         fmt::format("{} events, {} spurious, EOIs delayed by {} jiffies", events, spurious,
                     device.counters->jiffies_eoi_delayed));
    if (spurious * 10 > events && spurious > 100)
      rogues += (rogues.empty() ? "" : ", ") + device.name;
  }
  if (count == 0) return;
  result.summary = fmt::format("the frontends of {} backends send few spurious events", count);
  if (!rogues.empty()) {
    conclude(result, health::warn,
             fmt::format("more than a tenth of the events for {} were spurious", rogues),
             "the frontend domain is broken or malicious; the kernel already delays its events "
             "(spurious_threshold)");
  }
  constexpr std::size_t most = 8;
  if (result.evidence.size() > most) {
    result.evidence.resize(most);
    cite(result, "/sys/bus/xen-backend/devices", fmt::format("{} in total", count));
  }
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
