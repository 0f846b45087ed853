// The devices below /dev/xen that xenpv uses, and the commands that create them. A constant table
// for guest facts and error remedies. Does not access the devices.
#pragma once

#include <array>
#include <string_view>

namespace xenpv::xen {

struct known_device {
  std::string_view path;
  std::string_view module;
  std::string_view load;  ///< shell command that creates the device in a Xen guest
};

// xenbus is built into the kernel. If its node is missing, libxenstore uses the node in xenfs.
inline constexpr std::array known_devices = {
    known_device{"/dev/xen/evtchn", "xen-evtchn", "modprobe xen-evtchn"},
    known_device{"/dev/xen/gntalloc", "xen-gntalloc", "modprobe xen-gntalloc"},
    known_device{"/dev/xen/gntdev", "xen-gntdev", "modprobe xen-gntdev"},
    known_device{"/dev/xen/xenbus", "xenfs", "modprobe xenfs && mount -t xenfs xenfs /proc/xen"},
    known_device{"/dev/xen/privcmd", "xen-privcmd", "modprobe xen-privcmd"},
};

/// Returns nullptr for a path that is not in the table.
[[nodiscard]] constexpr const known_device* find_known_device(std::string_view path) noexcept {
  for (const auto& device : known_devices)
    if (device.path == path) return &device;
  return nullptr;
}

}  // namespace xenpv::xen
