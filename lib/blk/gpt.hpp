// The GUID partition table (GPT), as in the UEFI specification, chapter 5: a header with the
// checksum of itself and of an array of entries. Pure: the caller reads the sectors and looks for
// the second copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "blk/partition_table.hpp"

namespace xenpv::blk {

struct gpt_header {
  std::uint64_t own_sector = 0;
  std::uint64_t other_sector = 0;  ///< the other copy of the header; not verified
  std::uint64_t first_usable = 0;  ///< sector
  std::uint64_t last_usable = 0;   ///< sector, inclusive
  std::uint64_t entries_sector = 0;
  std::uint32_t entry_count = 0;
  std::uint32_t entry_size = 0;  ///< bytes
  std::uint32_t entries_checksum = 0;

  [[nodiscard]] std::size_t entries_size() const noexcept {
    return std::size_t{entry_count} * entry_size;
  }
};

/// Upper bound of gpt_header::entries_size(), in bytes. Usual tables have 16 KiB.
inline constexpr std::size_t largest_gpt_entries = std::size_t{1} << 20U;

/// True if the sector starts like a GPT header, whether or not the header is valid.
[[nodiscard]] bool has_gpt_signature(std::span<const std::byte> sector) noexcept;

/// Decodes the header in a whole sector. Verifies its checksum, that it belongs in `own_sector`,
/// and that the table fits on the disk. The error text contains only the reason.
[[nodiscard]] result<gpt_header> decode_gpt_header(std::span<const std::byte> sector,
                                                   std::uint64_t own_sector,
                                                   const disk_extent& disk);

/// Verifies the checksum of the entries (header.entries_size() bytes) and decodes them. A partition
/// that extends beyond the disk or overlaps the table is marked with the problem; partitions that
/// overlap each other are not. The error's text contains only the reason.
[[nodiscard]] result<partition_table> decode_gpt_entries(std::span<const std::byte> bytes,
                                                         const gpt_header& header,
                                                         const disk_extent& disk);

/// Decodes a partition's name, NUL-terminated UTF-16, to UTF-8 that is safe to print: see
/// printable(). Unpaired surrogates become U+FFFD.
[[nodiscard]] std::string decode_gpt_name(std::span<const std::byte> bytes);

}  // namespace xenpv::blk
