// Lists this guest's PV disks from xenstore and finds a disk by name. Read-only: does not connect
// to disks or change anything.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "xenpv/async/store_client.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/blk/request.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkfront {

/// The user of a disk in this guest.
enum class device_holder {
  nobody,
  kernel,   ///< the kernel's xen-blkfront is bound to the disk
  process,  ///< a process has connected the disk
};
/// Returns the name of the enumerator: "kernel".
[[nodiscard]] std::string_view to_string(device_holder holder) noexcept;

/// A PV disk of this guest, as xenstore and sysfs describe it.
struct listed_device {
  std::uint32_t number = 0;    ///< virtual device number, such as 768
  std::string name;            ///< name in the guest, such as "xvda"; unique within a list
  std::string toolstack_name;  ///< name in the toolstack, such as "hda"; usually equal to `name`
  std::string path;            ///< "device/vbd/768"
  /// The kernel block device from sysfs, such as "xvda". Set while a kernel driver is bound and
  /// connected. Used to find the disk's mounts and other users.
  std::optional<std::string> block_device;
  std::string backend;        ///< path of the backend directory
  std::string backend_kind;   ///< backend type: "vbd", "qdisk"
  std::string params;         ///< source as configured in the toolstack; empty if unreadable
  std::string mode;           ///< "r" or "w"
  std::string type = "disk";  ///< "disk" or "cdrom"
  wire::xenbus_state state = wire::xenbus_state::unknown;  ///< of the frontend
  std::optional<wire::xenbus_state> backend_state;         ///< unset: missing or unreadable
  device_holder holder = device_holder::nobody;            ///< the user of the disk in this guest
  /// In bytes. Unset if the backend does not publish the size; most backends publish it only once
  /// connected.
  std::optional<std::uint64_t> size;
  std::uint32_t sector_size = 512;    ///< bytes; 512 if the backend does not publish it
  std::vector<std::string> features;  ///< "flush", "barrier", "discard", "persistent", ...
};

/// Returns all disks, sorted by number. Throws `failure` if xenstore cannot be read.
[[nodiscard]] asio::awaitable<std::vector<listed_device>> list_devices(
    async::store_client& store, system_root root = system_root::from_environment());

/// Finds a disk by its guest name ("xvda", "/dev/xvda"), its toolstack name ("hda", "sda1"), its
/// number ("768"), its path ("device/vbd/768") or a path in the backend's `params`. Unless exactly
/// one disk matches, the error lists the choices. If `name` is one disk's guest name and another
/// disk's toolstack name, both match. If a disk's kernel block device is NAME, /dev/NAME matches
/// only that disk.
[[nodiscard]] result<listed_device> find_device(std::span<const listed_device> devices,
                                                std::string_view name);

}  // namespace xenpv::blkfront
