// The paths that a simulated domain replaces: /dev/xen/*, /proc/xen/* and /sys/hypervisor/*. This
// library opens devices itself; the toolstack writes the other files below root/ in the domain
// directory. Outside a simulated domain, no path is replaced.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <string>
#include <string_view>

#include "sim/guest/open_devices.hpp"

namespace xenpv::sim::guest {

enum class path_kind {
  other,   ///< not replaced
  device,  ///< see device_path::device
  store,   ///< a connection to xenstored
  file,    ///< a regular file or a directory below root/
};

struct device_path {
  path_kind kind = path_kind::other;
  device_kind device = device_kind::none;
};

/// Classifies an absolute path. Cheap for paths that are not replaced.
[[nodiscard]] device_path find_path(const char* path) noexcept;

/// The mode and number that stat(2) reports for a device. root/ contains a regular file in its
/// place, with the device's permissions.
[[nodiscard]] constexpr mode_t device_mode(mode_t permissions) noexcept {
  return S_IFCHR | (permissions & 0666);
}
[[nodiscard]] bool is_device(const device_path& found) noexcept;
[[nodiscard]] dev_t device_number(device_kind device) noexcept;

/// Returns the path below root/ in the domain directory that replaces `path`.
[[nodiscard]] std::string simulated_path(std::string_view path);

/// Opens a path whose kind is not `other`. Returns a descriptor, or -1 with errno set.
[[nodiscard]] int open_path(const device_path& found, const char* path, int flags) noexcept;

}  // namespace xenpv::sim::guest
