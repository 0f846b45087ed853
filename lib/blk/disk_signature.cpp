#include "blk/disk_signature.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "blk/little_endian.hpp"

namespace xenpv::blk {
namespace {

using namespace std::string_view_literals;

struct known_contents {
  std::size_t offset;
  std::string_view signature;
  std::string_view name;
};

/// Containers come first: their contents may look like a file system.
constexpr std::array<known_contents, 24> all_contents = {{
    {0, "LUKS\xBA\xBE"sv, "a LUKS volume"},
    {0, "QFI\xFB"sv, "a qcow2 image"},
    {0, "KDMV"sv, "a VMDK image"},
    {512, "LABELONE"sv, "an LVM physical volume"},
    {4096, "\xFC\x4E\x2B\xA9"sv, "a member of a Linux software RAID"},
    {0, "\xFC\x4E\x2B\xA9"sv, "a member of a Linux software RAID"},
    {0, "XFSB"sv, "an XFS file system"},
    {0x10040, "_BHRfS_M"sv, "a Btrfs file system"},
    {1024, "\x10\x20\xF5\xF2"sv, "an F2FS file system"},
    {1024, "\xE2\xE1\xF5\xE0"sv, "an EROFS file system"},
    {0, "hsqs"sv, "a SquashFS file system"},
    {4096 - 10, "SWAPSPACE2"sv, "Linux swap space"},
    {3, "NTFS    "sv, "an NTFS file system"},
    {3, "EXFAT   "sv, "an exFAT file system"},
    {3, "-FVE-FS-"sv, "a BitLocker volume"},
    {3, "ReFS"sv, "a ReFS file system"},
    {54, "FAT12   "sv, "a FAT file system"},
    {54, "FAT16   "sv, "a FAT file system"},
    {82, "FAT32   "sv, "a FAT file system"},
    {32769, "CD001"sv, "an ISO 9660 file system"},
    {32769, "BEA01"sv, "a UDF file system"},
    {512, "PM\0\0"sv, "an Apple partition map, which is not supported"},
    {512, "WEV\x82"sv, "a BSD disk label, which is not supported"},
    {508, "\xDA\xBE"sv, "a Sun disk label, which is not supported"},
}};

/// Distinguishes the versions by their features, as blkid(8) does.
std::string_view recognise_ext(std::span<const std::byte> start) noexcept {
  constexpr std::size_t superblock = 1024;
  constexpr std::uint32_t has_journal = 0x4;
  constexpr std::uint32_t ext4_incompatible = 0x40 | 0x80 | 0x100 | 0x200;
  if (start.size() < superblock + 256 || !has_text(start, superblock + 0x38, "\x53\xEF")) return {};
  const auto compatible = load_little_endian<std::uint32_t>(start, superblock + 0x5C);
  const auto incompatible = load_little_endian<std::uint32_t>(start, superblock + 0x60);
  if ((incompatible & ext4_incompatible) != 0) return "an ext4 file system";
  return (compatible & has_journal) != 0 ? "an ext3 file system" : "an ext2 file system";
}

}  // namespace

std::string_view recognise_contents(std::span<const std::byte> start) noexcept {
  for (const auto& known : all_contents)
    if (has_text(start, known.offset, known.signature)) return known.name;
  if (const auto ext = recognise_ext(start); !ext.empty()) return ext;
  if (std::all_of(start.begin(), start.end(), [](auto byte) { return byte == std::byte{0}; }))
    return "only zeros at its start";
  return {};
}

}  // namespace xenpv::blk
