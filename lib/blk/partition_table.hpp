// The partitions of a disk, as read from an MBR or a GUID partition table (GPT). Plain values;
// partition_scan reads them.
//
// Partitions are numbered as Linux numbers them: MBR slots are 1 to 4, logical partitions start at
// 5, and the number of a GPT partition is its place in the array of entries.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::blk {

/// The size of a disk and the unit in which its partition table counts.
struct disk_extent {
  std::uint64_t size = 0;           ///< bytes; a partial last sector is ignored
  std::uint32_t sector_size = 512;  ///< bytes; a power of two from 512 to 4096

  [[nodiscard]] std::uint64_t sectors() const noexcept { return size / sector_size; }
};

enum class partition_table_kind { mbr, gpt };

/// Name of the kind in messages: "MBR", "GPT".
[[nodiscard]] std::string_view to_string(partition_table_kind kind) noexcept;

struct partition {
  unsigned number = 0;       ///< 1 is the first partition
  std::uint64_t offset = 0;  ///< bytes from the start of the disk; a multiple of the sector size
  std::uint64_t size = 0;    ///< bytes; a multiple of the sector size
  std::string
      type;  ///< MBR: two hexadecimal digits, "83"; GPT: a GUID in capitals, as in sfdisk(8)
  std::string type_name;  ///< "Linux"; empty if the type is not known here
  std::string name;       ///< GPT: printable UTF-8, may be empty; MBR: empty
  /// The reason why the partition cannot be used, such as "it ends beyond the end of the disk".
  /// Empty if it can be used: then it lies within the disk and outside the table.
  std::string problem;

  friend bool operator==(const partition&, const partition&) = default;
};

struct partition_table {
  partition_table_kind kind = partition_table_kind::mbr;
  std::vector<partition> partitions;  ///< by ascending number; numbers may be missing
  std::vector<std::string> warnings;  ///< damage that does not prevent the use of the table

  /// Returns the partition with this number. The error lists the numbers of the partitions that
  /// exist, or explains why this one cannot be used.
  [[nodiscard]] result<partition> find(unsigned number) const;

  friend bool operator==(const partition_table&, const partition_table&) = default;
};

/// Finds partitions that share sectors. Ignores partitions that already have a problem. GPT and
/// logical partitions that overlap another one get a problem; overlapping primary partitions of an
/// MBR only cause a warning, because hybrid images for optical and USB drives have them on purpose.
void mark_overlaps(partition_table& table);

}  // namespace xenpv::blk
