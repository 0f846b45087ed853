// The master boot record (MBR): four entries in the first sector, and the chain of extended boot
// records (EBR) that holds the logical partitions. Pure: the caller reads the sectors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blk/partition_table.hpp"

namespace xenpv::blk {

struct mbr_entry {
  std::uint8_t status = 0;    ///< 0x80: active, 0: inactive; anything else is not an entry
  std::uint8_t type = 0;      ///< 0: unused
  std::uint32_t first = 0;    ///< in sectors
  std::uint32_t sectors = 0;  ///< 0: unused

  [[nodiscard]] bool is_used() const noexcept { return sectors != 0; }
  [[nodiscard]] bool is_extended() const noexcept;
  /// The entry covers a GPT, to protect it from programs without GPT support.
  [[nodiscard]] bool is_protective() const noexcept { return type == 0xEE; }
};

using mbr_entries = std::array<mbr_entry, 4>;

/// Decodes the entries of an MBR or EBR, a whole sector. nullopt if the sector lacks the boot
/// signature, or if the status of an entry is invalid, as in the boot sector of a file system.
[[nodiscard]] std::optional<mbr_entries> decode_mbr(std::span<const std::byte> sector);

/// Collects the partitions of an MBR. Reads EBRs in the order in which Linux reads them, so that
/// the logical partitions get the same numbers, but stops at loops and at links that leave the
/// extended partition.
class mbr_reader {
 public:
  mbr_reader(disk_extent disk, const mbr_entries& primary);

  /// The EBR to read next, as a sector number on the disk. nullopt at the end.
  [[nodiscard]] std::optional<std::uint64_t> next_sector() const noexcept { return next_; }
  /// Takes the whole sector that next_sector() asked for.
  void accept(std::span<const std::byte> sector);
  /// Returns the table once next_sector() is nullopt. Partitions that contain an EBR have a
  /// problem; other overlaps are not marked.
  [[nodiscard]] partition_table take();

 private:
  /// In sectors.
  struct range {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
  };

  void add(unsigned number, const mbr_entry& entry, std::uint64_t first);
  void add_logical(const mbr_entries& entries);
  void enter_next_container();
  void follow(const mbr_entry& link);
  void end_chain(std::string_view reason);

  disk_extent disk_;
  partition_table table_;
  std::vector<range> containers_;  ///< extended partitions, in the order of their slots
  std::size_t container_ = 0;      ///< index of the one that next_ belongs to
  std::optional<std::uint64_t> next_;
  std::vector<std::uint64_t> visited_;  ///< EBRs of all containers
  unsigned next_number_ = 5;
};

}  // namespace xenpv::blk
