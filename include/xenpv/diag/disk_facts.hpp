// The PV disks of this guest: what each end offers in xenstore, and what the kernel's driver made
// of it. Judges nothing (checks/disks.cpp does). make_disk_facts is pure but for the files below
// /sys.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "xenpv/base/system_root.hpp"
#include "xenpv/diag/readings.hpp"

namespace xenpv::diag {

struct disk_facts {
  std::string name = {};     ///< the guest's: "xvda", also for a disk that the toolstack calls hda
  std::string path = {};     ///< "device/vbd/51712"
  std::string backend = {};  ///< its directory in xenstore; empty where xenstore was not read
  bool kernel_drives = false;
  std::optional<std::string> block_device = {};  ///< as sysfs shows it; unset: not there
  store_nodes front = {};  ///< by leaf, "feature-persistent"; empty where xenstore was not read
  store_nodes back = {};
  // Of the kernel's block device: unset unless the kernel drives it.
  std::optional<std::uint64_t> max_segments = {};  ///< of 4 KiB, a request
  std::optional<std::uint64_t> hardware_queues = {};
  std::optional<std::uint64_t> discard_max_bytes = {};
  std::string write_cache = {};  ///< "write back" or "write through"
};

/// Parameters of xen-blkfront: what this end may do at most. Unset: not readable, or too old a
/// kernel.
struct blkfront_limits {
  std::optional<unsigned> max_queues = {};
  std::optional<unsigned> max_ring_page_order = {};
  std::optional<unsigned> max_indirect_segments = {};
  std::optional<bool> persistent = {};
};
[[nodiscard]] blkfront_limits read_blkfront_limits(const system_root& root);

/// From the nodes of read_store() and read_disk_backends(), and /sys, by number.
[[nodiscard]] std::vector<disk_facts> make_disk_facts(const system_root& root,
                                                      const store_nodes& nodes);

/// The nodes of the backends that this domain's disks name, by their whole path. Those that may not
/// be read are left out. In a capture they are among the others already: empty.
[[nodiscard]] store_nodes read_disk_backends(const reading_place& place, const store_nodes& nodes);

}  // namespace xenpv::diag
