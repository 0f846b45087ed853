// Builds disks with partition tables in memory, and scans them.
#pragma once

#include <gtest/gtest.h>

#include <boost/crc.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blk/partition_scan.hpp"

namespace xenpv::blk::test {

/// In sectors. `last` is inclusive.
struct gpt_partition {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::u16string name;
  std::uint8_t type = 0xAF;  ///< first byte of the GUID; 0xAF: Linux filesystem
};

struct gpt_layout {
  std::uint32_t entry_count = 8;
  std::uint32_t entry_size = 128;
  std::vector<gpt_partition> partitions;  ///< `first` 0: an unused entry
};

class disk_image {
 public:
  explicit disk_image(std::uint64_t sectors, std::uint32_t sector_size = 512)
      : bytes_(sectors * sector_size), sector_size_(sector_size) {}

  [[nodiscard]] std::vector<std::byte>& bytes() noexcept { return bytes_; }
  [[nodiscard]] disk_extent extent() const noexcept { return {bytes_.size(), sector_size_}; }
  [[nodiscard]] std::uint64_t sectors() const noexcept { return bytes_.size() / sector_size_; }

  template <class Integer>
  void put(std::size_t offset, Integer value) {
    for (std::size_t i = 0; i < sizeof value; ++i)
      bytes_.at(offset + i) = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
  }
  void put_text(std::size_t offset, std::string_view text) {
    for (const char c : text)
      put(offset++, static_cast<std::uint8_t>(c));
  }

  void put_signature(std::uint64_t sector) {
    put<std::uint16_t>(sector * sector_size_ + 510, 0xAA55);
  }
  /// Writes one of the four entries of an MBR or EBR, and the signature.
  void put_mbr_entry(std::uint64_t sector, unsigned slot, std::uint8_t type, std::uint32_t first,
                     std::uint32_t count) {
    const auto offset = sector * sector_size_ + 446 + std::size_t{slot} * 16;
    put(offset + 4, type);
    put(offset + 8, first);
    put(offset + 12, count);
    put_signature(sector);
  }

  /// Writes a protective MBR and both copies of the GPT.
  void put_gpt(const gpt_layout& layout) {
    put_mbr_entry(0, 0, 0xEE, 1, static_cast<std::uint32_t>(sectors() - 1));
    put_gpt_copy(layout, 1, 2);
    put_gpt_copy(layout, sectors() - 1, sectors() - 1 - entries_sectors(layout));
  }
  /// Recomputes the checksum of the header in `sector`, after a change to it.
  void seal_header(std::uint64_t sector) {
    const auto offset = sector * sector_size_;
    put<std::uint32_t>(offset + 16, 0);
    put(offset + 16, checksum(offset, 92));
  }

  /// Scans the disk. Checks the ranges that the scan reads.
  [[nodiscard]] result<partition_table> scan() const {
    partition_scan scan(extent());
    unsigned reads = 0;
    while (const auto range = scan.next()) {
      EXPECT_LT(reads++, 600U);
      EXPECT_EQ(range->offset % sector_size_, 0U);
      EXPECT_EQ(range->length % sector_size_, 0U);
      EXPECT_LE(range->length, partition_scan::largest_read);
      EXPECT_LE(range->offset + range->length, bytes_.size());
      if (testing::Test::HasFailure()) break;
      scan.accept(std::span(bytes_).subspan(range->offset, range->length));
    }
    return scan.finish();
  }
  /// Returns the message of a scan that fails, or the table's kind.
  [[nodiscard]] std::string outcome() const {
    const auto table = scan();
    return table ? std::string(to_string(table->kind)) : table.error().text;
  }

 private:
  [[nodiscard]] std::uint64_t entries_sectors(const gpt_layout& layout) const {
    const auto size = std::uint64_t{layout.entry_count} * layout.entry_size;
    return (size + sector_size_ - 1) / sector_size_;
  }
  [[nodiscard]] std::uint32_t checksum(std::size_t offset, std::size_t length) const {
    boost::crc_32_type crc;
    crc.process_bytes(bytes_.data() + offset, length);
    return crc.checksum();
  }
  void put_gpt_copy(const gpt_layout& layout, std::uint64_t own, std::uint64_t entries) {
    auto offset = entries * sector_size_;
    for (const auto& one : layout.partitions) {
      if (one.first != 0) put_gpt_entry(offset, one);
      offset += layout.entry_size;
    }
    const auto header = own * sector_size_;
    const auto entries_size = std::size_t{layout.entry_count} * layout.entry_size;
    put_text(header, "EFI PART");
    put<std::uint32_t>(header + 8, 0x00010000);
    put<std::uint32_t>(header + 12, 92);
    put<std::uint64_t>(header + 24, own);
    put<std::uint64_t>(header + 32, own == 1 ? sectors() - 1 : 1);
    put<std::uint64_t>(header + 40, 2 + entries_sectors(layout));
    put<std::uint64_t>(header + 48, sectors() - 2 - entries_sectors(layout));
    put_text(header + 56, "a GUID for disks");
    put<std::uint64_t>(header + 72, entries);
    put<std::uint32_t>(header + 80, layout.entry_count);
    put<std::uint32_t>(header + 84, layout.entry_size);
    put<std::uint32_t>(header + 88, checksum(entries * sector_size_, entries_size));
    seal_header(own);
  }
  void put_gpt_entry(std::size_t offset, const gpt_partition& one) {
    constexpr std::string_view linux_filesystem =
        "\x3D\xC6\x0F\x83\x84\x72\x47\x8E\x79\x3D\x69\xD8\x47\x7D\xE4";
    put(offset, one.type);
    put_text(offset + 1, linux_filesystem);
    put_text(offset + 16, "a partition GUID");
    put(offset + 32, one.first);
    put(offset + 40, one.last);
    for (std::size_t i = 0; i < one.name.size(); ++i)
      put(offset + 56 + 2 * i, static_cast<std::uint16_t>(one.name[i]));
  }

  std::vector<std::byte> bytes_;
  std::uint32_t sector_size_;
};

}  // namespace xenpv::blk::test
