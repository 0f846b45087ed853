// The PV disks of this guest, as xenstore shows them, and which of them a user means by a word.
// Looks only: connects to nothing, takes nothing from anybody.
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

/// Who drives a disk in this guest.
enum class device_holder {
  nobody,
  kernel,   ///< its xen-blkfront is bound to it
  process,  ///< some process connected it
};
[[nodiscard]] std::string_view to_string(device_holder holder) noexcept;

struct listed_device {
  std::uint32_t number = 0;    ///< 768
  std::string name;            ///< the guest's, "xvda"; unique in a list
  std::string toolstack_name;  ///< "hda"; mostly the same as the guest's
  std::string path;            ///< "device/vbd/768"
  /// The kernel's block device, "xvda", from sysfs: while the kernel's driver is bound and
  /// connected. It is what mounts and other users are found by.
  std::optional<std::string> block_device;
  std::string backend;        ///< its directory
  std::string backend_kind;   ///< "vbd", "qdisk"
  std::string params;         ///< what the toolstack had it made from; may be unreadable: empty
  std::string mode;           ///< "r" or "w"
  std::string type = "disk";  ///< "disk" or "cdrom"
  wire::xenbus_state state = wire::xenbus_state::unknown;
  std::optional<wire::xenbus_state> backend_state;
  device_holder holder = device_holder::nobody;
  /// As far as the backend shows it: most do so only once connected.
  std::optional<std::uint64_t> size;
  std::uint32_t sector_size = 512;
  std::vector<std::string> features;  ///< "flush", "barrier", "discard", "persistent", ...
};

/// All of them, by number. Throws `failure` when xenstore cannot be read.
[[nodiscard]] async::asio::awaitable<std::vector<listed_device>> list_devices(
    async::store_client& store, system_root root = system_root::from_environment());

/// The one that `word` means: the guest's name ("xvda", "/dev/xvda"), the toolstack's ("hda",
/// "sda1"), "768", "device/vbd/768", or a path that is in its backend's `params`. An error names
/// the choices when none or several fit: a name that is the guest's for one disk and the
/// toolstack's for another fits both, but /dev/NAME is the disk that the kernel shows there.
[[nodiscard]] result<listed_device> find_device(std::span<const listed_device> devices,
                                                std::string_view word);

}  // namespace xenpv::blkfront
