// The toolstack's settings for a disk, read from the backend directory: libxl's own nodes
// (`params`, `mode`, `device-type`, `removable`) and, below `xenpv`, settings that libxl lacks:
//
//   store = memory | file | null        size = bytes          path: libxl's `params`
//   backend = name in wire::backend_kinds                      sector-size = 512 | 4096
//   max-queues, max-ring-page-order, max-indirect-segments = N
//   persistent, flush, barrier, discard, volatile-cache = 0 | 1
//   medium = name of the medium, for a disk that moves to another directory
//   fault = faults of disk_fault.hpp       size and fault may change while the disk is served; the
//                                          service confirms in applied-size or applied-fault
//   command = restart | power-cut SEED     executed once, then removed
//
// Only parses; does not open the medium.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "blkback/disk_config.hpp"
#include "blkback/disk_fault.hpp"
#include "blkback/nodes.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkback {

using wire::disk_store;

struct disk_plan {
  disk_config config;  ///< size 0: use the file's size
  disk_store store = disk_store::file;
  std::string path;
  std::string medium;
  bool volatile_cache = false;
  disk_faults faults;
};

struct disk_command {
  enum class verb : std::uint8_t { restart, power_cut } action = verb::restart;
  std::uint64_t seed = 0;
  friend bool operator==(const disk_command&, const disk_command&) = default;
};

/// `directory`: the backend directory's nodes. `kind`: the device kind in its path ("vbd",
/// "qdisk"). `queues`: multi-queue-max-queues for blkback, unless the node `max-queues` exists.
[[nodiscard]] result<disk_plan> parse_disk_plan(const nodes& directory, std::string_view kind,
                                                std::uint32_t queues);
[[nodiscard]] result<disk_command> parse_disk_command(std::string_view text);

}  // namespace xenpv::blkback
