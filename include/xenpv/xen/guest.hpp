// Facts about this guest and its devices below /dev/xen, read once, without privileges and without
// opening a device. Reads files below XENPV_ROOT (base/system_root.hpp).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::xen {

/// /sys/hypervisor/guest_type
enum class guest_type { none, pv, pvh, hvm, xen_arm, unknown };
/// Returns the text of /sys/hypervisor/guest_type: "PVH"; also "none" and "unknown".
[[nodiscard]] std::string_view to_string(guest_type type) noexcept;

/// One of the devices that xenpv uses.
struct xen_device {
  std::string path;         ///< "/dev/xen/evtchn"
  std::string module;       ///< the module to load: "xen-evtchn"
  bool present = false;     ///< the node exists
  bool accessible = false;  ///< this process can open it for reading and writing
};

/// The result of read_guest_facts().
struct guest_facts {
  guest_type type = guest_type::none;      ///< `none` outside Xen
  std::optional<std::string> xen_version;  ///< "4.17.7"; omits parts that Xen denies
  bool is_control_domain = false;          ///< /proc/xen/capabilities has control_d
  std::vector<xen_device> devices;         ///< evtchn, gntalloc, gntdev, xenbus, privcmd
  std::optional<unsigned> gntalloc_limit;  ///< in pages, for the whole guest

  /// False on bare metal and under other hypervisors.
  [[nodiscard]] bool runs_on_xen() const noexcept { return type != guest_type::none; }
  /// Returns nullptr if there is no device with this path.
  [[nodiscard]] const xen_device* device(std::string_view path) const noexcept;
};

/// Reads all facts. Those from missing or unreadable files stay unset.
[[nodiscard]] guest_facts read_guest_facts(
    const system_root& root = system_root::from_environment());

/// Returns shell commands that create the missing devices ("modprobe xen-gntalloc"). Empty if all
/// devices exist, or outside Xen, where loading modules does not help. A device that exists but is
/// not accessible needs root or a udev rule.
[[nodiscard]] std::vector<std::string> missing_device_cures(const guest_facts& facts);

}  // namespace xenpv::xen
