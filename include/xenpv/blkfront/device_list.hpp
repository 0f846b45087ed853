// Lists the PV disks of this guest from xenstore and resolves a disk by name. Read-only: connects
// to no disk and changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "xenpv/async/store_client.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/blk/geometry.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkfront {

/// The user of a disk in this guest.
enum class device_holder {
  nobody,
  kernel,   ///< the kernel's xen-blkfront is bound to the disk
  process,  ///< a process has connected the disk
};
[[nodiscard]] std::string_view to_string(device_holder holder) noexcept;

struct listed_device {
  std::uint32_t number = 0;    ///< 768
  std::string name;            ///< in the guest, "xvda"; unique in a list
  std::string toolstack_name;  ///< "hda"; usually the same as `name`
  std::string path;            ///< "device/vbd/768"
  /// The kernel's block device, "xvda", from sysfs. Set while the kernel's driver is bound and
  /// connected. Mounts and other users are found by this name.
  std::optional<std::string> block_device;
  std::string backend;        ///< the backend's directory
  std::string backend_kind;   ///< "vbd", "qdisk"
  std::string params;         ///< the disk's source in the toolstack; empty if unreadable
  std::string mode;           ///< "r" or "w"
  std::string type = "disk";  ///< "disk" or "cdrom"
  wire::xenbus_state state = wire::xenbus_state::unknown;
  std::optional<wire::xenbus_state> backend_state;
  device_holder holder = device_holder::nobody;
  /// If the backend publishes it: most do so only once connected.
  std::optional<std::uint64_t> size;
  std::uint32_t sector_size = 512;
  std::vector<std::string> features;  ///< "flush", "barrier", "discard", "persistent", ...
};

/// All disks, sorted by number. Throws `failure` when xenstore cannot be read.
[[nodiscard]] async::asio::awaitable<std::vector<listed_device>> list_devices(
    async::store_client& store, system_root root = system_root::from_environment());

/// Finds a disk by its name in the guest ("xvda", "/dev/xvda"), its name in the toolstack ("hda",
/// "sda1"), its number ("768"), its path ("device/vbd/768") or a path in the backend's `params`. If
/// no disk or several disks match, the error lists the choices. A name that one disk has in the
/// guest and another in the toolstack matches both; /dev/NAME matches only the disk whose block
/// device has that name, if there is one.
[[nodiscard]] result<listed_device> find_device(std::span<const listed_device> devices,
                                                std::string_view name);

}  // namespace xenpv::blkfront
