// What domain 0 and driver domains see of their front ends: events that announced nothing, a sign
// of a guest that means harm or is broken (sysfs-devices-xenbus).
#include "diag/checks.hpp"

namespace xenpv::diag {

void check_back_ends(const examination& of, findings& out) {
  finding found{.id = "back-ends", .verdict = health::pass};
  unsigned count = 0;
  std::string rogues;
  for (const auto& each : of.devices) {
    if (!each.is_backend || !each.counters) continue;
    ++count;
    const auto spurious = each.counters->spurious_events;
    const auto events = each.counters->events;
    cite(found, fmt::format("/sys/bus/xen-backend/devices/{}/xenbus", each.name),
         fmt::format("{} events, {} spurious, EOIs delayed {} jiffies", events, spurious,
                     each.counters->jiffies_eoi_delayed));
    if (spurious * 10 > events && spurious > 100)
      rogues += (rogues.empty() ? "" : ", ") + each.name;
  }
  if (count == 0) return;
  found.summary = fmt::format("the front ends of {} back ends send events in earnest", count);
  if (!rogues.empty()) {
    found.verdict = health::warn;
    found.summary = fmt::format("more than a tenth of the events of {} announced nothing", rogues);
    found.cure =
        "their domain is broken or means harm; the kernel already delays it "
        "(spurious_threshold)";
  }
  constexpr std::size_t most = 8;
  if (found.evidence.size() > most) {
    found.evidence.resize(most);
    cite(found, "/sys/bus/xen-backend/devices", fmt::format("{} in all", count));
  }
  out.push_back(std::move(found));
}

}  // namespace xenpv::diag
