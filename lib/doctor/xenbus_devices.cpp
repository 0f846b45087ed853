#include "doctor/xenbus_devices.hpp"

#include <fmt/format.h>

#include "base/words.hpp"
#include "channels/raw_facts.hpp"

namespace xenpv::doctor {
namespace {

/// The kernel prints these 32-bit counters as signed numbers (XENBUS_SHOW_STAT in
/// drivers/xen/xenbus/xenbus_probe.c), so they become negative after 2^31 events.
std::optional<std::uint64_t> read_counter(const system_root& root, const std::string& path) {
  const auto value = channels::read_number<std::int64_t>(root, path);
  if (!value) return std::nullopt;
  return *value < 0 ? static_cast<std::uint32_t>(*value) : static_cast<std::uint64_t>(*value);
}

std::optional<storm_counters> read_counters(const system_root& root, const std::string& device) {
  const auto event_channels = read_counter(root, device + "/xenbus/event_channels");
  if (!event_channels) return std::nullopt;
  const auto counter = [&](std::string_view name) {
    return read_counter(root, fmt::format("{}/xenbus/{}", device, name)).value_or(0);
  };
  return storm_counters{.event_channels = *event_channels,
                        .events = counter("events"),
                        .spurious_events = counter("spurious_events"),
                        .jiffies_eoi_delayed = counter("jiffies_eoi_delayed"),
                        .spurious_threshold = counter("spurious_threshold")};
}

void read_bus(const system_root& root, std::string_view bus, bool is_backend,
              std::vector<xenbus_device>& out) {
  const auto folder = fmt::format("/sys/bus/{}/devices", bus);
  for (const auto& name : root.names(folder)) {
    const auto path = fmt::format("{}/{}", folder, name);
    const auto text = [&](std::string_view file) {
      return std::string(trim(root.read(fmt::format("{}/{}", path, file)).value_or("")));
    };
    out.push_back({.is_backend = is_backend,
                   .name = name,
                   .nodename = text("nodename"),
                   .type = text("devtype"),
                   .state = text("state"),
                   .has_driver = root.exists(path + "/driver"),
                   .counters = read_counters(root, path)});
  }
}

}  // namespace

std::vector<xenbus_device> read_xenbus_devices(const system_root& root) {
  std::vector<xenbus_device> out;
  read_bus(root, "xen", false, out);
  read_bus(root, "xen-backend", true, out);
  return out;
}

}  // namespace xenpv::doctor
