// The PV disks of this guest: the features that each end offers in xenstore, and the settings of
// the kernel's driver. Judges nothing (checks/disks.cpp does). make_disk_facts is pure except for
// the files below /sys.
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
  std::string name = {};     ///< in the guest: "xvda", also for a disk that the toolstack calls hda
  std::string path = {};     ///< "device/vbd/51712"
  std::string backend = {};  ///< its directory in xenstore; empty where xenstore was not read
  bool kernel_drives = false;
  std::optional<std::string> block_device = {};  ///< from sysfs; unset if there is none
  channels::store_nodes front =
      {};  ///< by leaf, "feature-persistent"; empty where xenstore was not read
  channels::store_nodes back = {};
  // From the kernel's block device: unset unless the kernel drives it.
  std::optional<std::uint64_t> max_segments = {};  ///< of 4 KiB, per request
  std::optional<std::uint64_t> hardware_queues = {};
  std::optional<std::uint64_t> discard_max_bytes = {};
  std::string write_cache = {};  ///< "write back" or "write through"
};

/// Parameters of xen-blkfront: the limits of this end. Unset: not readable, or the kernel is too
/// old.
struct blkfront_limits {
  std::optional<unsigned> max_queues = {};
  std::optional<unsigned> max_ring_page_order = {};
  std::optional<unsigned> max_indirect_segments = {};
  std::optional<bool> persistent = {};
};
[[nodiscard]] blkfront_limits read_blkfront_limits(const system_root& root);

/// The disks by number, from the nodes of read_store() and read_disk_backends(), and from /sys.
[[nodiscard]] std::vector<disk_facts> make_disk_facts(const system_root& root,
                                                      const channels::store_nodes& nodes);

/// The nodes of the backends that this domain's disks name, by their whole path. Skips unreadable
/// nodes. Empty in a capture, where `nodes` already has them.
[[nodiscard]] channels::store_nodes read_disk_backends(const channels::fact_source& source,
                                                       const channels::store_nodes& nodes);

}  // namespace xenpv::doctor
