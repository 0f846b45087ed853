// What a block device is and can do. Values only.
#pragma once

#include <cstdint>

namespace xenpv::blk {

struct geometry {
  std::uint64_t size = 0;  ///< bytes; 0: no medium in the drive
  std::uint32_t sector_size = 512;
  std::uint32_t physical_sector_size = 512;
  bool read_only = false;
  bool removable = false;
  bool cdrom = false;
  /// Flush and FUA; without it nothing says when a write is durable. Never with read_only.
  bool can_flush = false;
  bool can_discard = false;
  bool can_secure_discard = false;
  std::uint64_t discard_granularity = 0;  ///< bytes; whole multiples of it are worth discarding
  std::uint64_t discard_alignment = 0;    ///< bytes from the start to the first such multiple
  /// Bytes that one request carries without being split; larger ones are split by the device.
  std::uint64_t preferred_transfer = 0;

  friend bool operator==(const geometry&, const geometry&) = default;
};

}  // namespace xenpv::blk
