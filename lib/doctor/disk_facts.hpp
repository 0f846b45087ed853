// Facts about this guest's PV disks: the features that each end publishes in xenstore, and the
// settings of the kernel driver. Only collects facts; checks/disks.cpp evaluates them.
// make_disk_facts() is pure except that it reads files below /sys.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "channels/raw_facts.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::doctor {

struct disk_facts {
  std::string name = {};     ///< guest name: "xvda", even if the toolstack uses hda
  std::string path = {};     ///< "device/vbd/51712"
  std::string backend = {};  ///< the backend's xenstore path; empty if xenstore was not read
  bool kernel_drives = false;
  std::optional<std::string> block_device = {};  ///< from sysfs; unset if there is none
  /// The nodes of each end, keyed by leaf, such as "feature-persistent"; empty if xenstore was not
  /// read.
  channels::store_nodes front = {};
  channels::store_nodes back = {};
  std::string error = {};  ///< node error/device/vbd/N/error: the driver's last error
  // Read from the kernel's block device; unset unless the kernel driver uses the disk.
  std::optional<std::uint64_t> max_segments = {};  ///< per request, 4 KiB each
  std::optional<std::uint64_t> hardware_queues = {};
  std::optional<std::uint64_t> discard_max_bytes = {};
  std::string write_cache = {};  ///< "write back" or "write through"
};

/// Module parameters of xen-blkfront, which limit the frontend. A parameter is unset if it is
/// unreadable or if the kernel is too old to have it.
struct blkfront_limits {
  std::optional<unsigned> max_queues = {};
  std::optional<unsigned> max_ring_page_order = {};
  std::optional<unsigned> max_indirect_segments = {};
  std::optional<bool> persistent = {};
};
[[nodiscard]] blkfront_limits read_blkfront_limits(const system_root& root);

/// Builds the list of disks, sorted by number, from /sys and the nodes that read_store() and
/// read_disk_backends() returned.
[[nodiscard]] std::vector<disk_facts> make_disk_facts(const system_root& root,
                                                      const channels::store_nodes& nodes);

/// Reads the backend nodes of this domain's disks, keyed by absolute path. Skips unreadable nodes.
/// For a capture, returns an empty map, because `nodes` already contains the backend nodes.
[[nodiscard]] channels::store_nodes read_disk_backends(const channels::fact_source& source,
                                                       const channels::store_nodes& nodes);

}  // namespace xenpv::doctor
