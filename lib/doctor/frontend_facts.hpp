// Facts about this guest's PV devices other than disks: the states of both ends and the error that
// the driver reported. Joined from sysfs and xenstore, because old kernels show no state in sysfs
// and xenstore is readable only by root. make_frontend_facts() is pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "channels/raw_facts.hpp"
#include "doctor/xenbus_devices.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::doctor {

/// Whether a driver is bound to a device. Captures of other tools often lack the link.
enum class driver_binding { unknown, absent, bound };

struct frontend_facts {
  std::string name = {};  ///< "vif-0"
  std::string type = {};  ///< "vif"
  std::string path = {};  ///< "device/vif/0"
  std::optional<wire::xenbus_state> state = {};
  std::string state_source = {};  ///< the sysfs file or the xenstore node of `state`
  std::optional<wire::xenbus_state> back_state = {};
  std::string backend = {};  ///< the backend's xenstore path; empty if xenstore was not read
  std::string error = {};    ///< node error/device/vif/0/error: "1 allocating event channel"
  driver_binding driver = driver_binding::unknown;
  /// Two readings, at least a second apart, showed that the backend is not connected. In a capture,
  /// which is read once, the device may have been connecting.
  bool is_stuck = false;
  // Network devices: queues in use, and the most that the backend offers (netif.h).
  std::optional<unsigned> queues = {};
  std::optional<unsigned> max_queues = {};
  /// Whether the backend accepts large segments for TCP over IPv4 (TSO); unset if it is not known.
  std::optional<bool> accepts_tso = {};
};

/// Returns the frontends that sysfs or xenstore lists, except disks, sorted by name.
[[nodiscard]] std::vector<frontend_facts> make_frontend_facts(
    const std::vector<xenbus_device>& devices, const channels::store_nodes& nodes);

/// Whether the frontend is Connected, but its backend is known not to be. Brief while a device
/// connects: a frontend may connect before its backend's hotplug script has finished.
[[nodiscard]] bool lacks_backend(const frontend_facts& device);

/// Sets `is_stuck` of the devices in `later` that lack their backend in both readings.
void mark_stuck(const std::vector<frontend_facts>& earlier, std::vector<frontend_facts>& later);

/// Sets each backend's error from its error node, and the nodename if the capture lacks it.
void add_backend_errors(const channels::store_nodes& nodes, std::vector<xenbus_device>& devices);

/// Reads the backends' states of the devices in `nodes`, and the error nodes of these devices and
/// of this domain's backends. Skips unreadable nodes. For a capture, returns an empty map, because
/// `nodes` already contains them.
[[nodiscard]] channels::store_nodes read_device_nodes(const channels::fact_source& source,
                                                      const channels::store_nodes& nodes,
                                                      const std::vector<xenbus_device>& devices);

/// Parses a state as sysfs prints it: "InitWait". Returns nullopt for an unknown name.
[[nodiscard]] std::optional<wire::xenbus_state> parse_state_name(std::string_view text);

}  // namespace xenpv::doctor
