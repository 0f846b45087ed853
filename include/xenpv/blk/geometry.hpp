// The size and features of a block device.
#pragma once

#include <cstdint>

namespace xenpv::blk {

struct geometry {
  std::uint64_t size = 0;                    ///< bytes; 0 if the drive does not contain a medium
  std::uint32_t sector_size = 512;           ///< bytes; the logical sector size
  std::uint32_t physical_sector_size = 512;  ///< bytes; smaller writes may be slow
  bool read_only = false;                    ///< writes fail
  bool removable = false;                    ///< the medium can be changed
  bool cdrom = false;                        ///< the drive is a CD-ROM
  /// Flush and FUA are supported. Without them, a completed write is not known to be durable. Never
  /// set together with read_only.
  bool can_flush = false;
  bool can_discard = false;               ///< operation::discard is supported
  bool can_secure_discard = false;        ///< operation::secure_discard is supported
  std::uint64_t discard_granularity = 0;  ///< bytes; only whole granules can be discarded
  std::uint64_t discard_alignment = 0;    ///< bytes; offset of the first granule on the device
  /// In bytes. The device splits larger requests.
  std::uint64_t preferred_transfer = 0;

  friend bool operator==(const geometry&, const geometry&) = default;
};

}  // namespace xenpv::blk
