// The devices below /dev/xen that xenpv knows, and what brings each of them up.
// A table, shared by the guest's facts and the cures of errors; it looks at nothing.
#pragma once

#include <array>
#include <string_view>

namespace xenpv::xen {

struct known_device {
  std::string_view path;
  std::string_view module;
  std::string_view load;  ///< shell line that makes it appear in a Xen guest
};

// xenbus is built into the kernel; where its node is missing, libxenstore takes xenfs' twin of it.
inline constexpr std::array known_devices = {
    known_device{"/dev/xen/evtchn", "xen-evtchn", "modprobe xen-evtchn"},
    known_device{"/dev/xen/gntalloc", "xen-gntalloc", "modprobe xen-gntalloc"},
    known_device{"/dev/xen/gntdev", "xen-gntdev", "modprobe xen-gntdev"},
    known_device{"/dev/xen/xenbus", "xenfs", "modprobe xenfs && mount -t xenfs xenfs /proc/xen"},
    known_device{"/dev/xen/privcmd", "xen-privcmd", "modprobe xen-privcmd"},
};

/// nullptr for a path that is not in the table.
[[nodiscard]] constexpr const known_device* find_known_device(std::string_view path) noexcept {
  for (const auto& device : known_devices)
    if (device.path == path) return &device;
  return nullptr;
}

}  // namespace xenpv::xen
