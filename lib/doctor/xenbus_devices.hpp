// The PV devices that this domain's kernel manages: /sys/bus/xen and /sys/bus/xen-backend, with the
// event-storm counters of Documentation/ABI/testing/sysfs-devices-xenbus. Does not access xenstore.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::doctor {

/// A device's event-channel counters. The kernel maintains them for backends; for frontends, they
/// stay 0. A rising spurious count is an early sign of a malicious or broken peer. All have 32 bits
/// and wrap.
struct storm_counters {
  std::uint64_t event_channels = 0;
  std::uint64_t events = 0;
  std::uint64_t spurious_events = 0;
  std::uint64_t jiffies_eoi_delayed = 0;
  std::uint64_t spurious_threshold = 0;
};

struct xenbus_device {
  bool is_backend = false;
  std::string name = {};      ///< "vbd-51712", "vif-3-0"
  std::string nodename = {};  ///< "device/vbd/51712"
  std::string type = {};      ///< "vbd"
  std::string state = {};     ///< "Connected"; empty before Linux 5.x
  bool has_driver = false;
  std::string error = {};  ///< of a backend: node error/NODENAME/error (add_backend_errors())
  std::optional<storm_counters> counters = {};
};

/// Returns the frontends, then the backends, each sorted by name.
[[nodiscard]] std::vector<xenbus_device> read_xenbus_devices(const system_root& root);

}  // namespace xenpv::doctor
