#include "blk/gpt.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <boost/crc.hpp>
#include <cerrno>
#include <utility>

#include "base/utf8.hpp"
#include "blk/little_endian.hpp"

namespace xenpv::blk {
namespace {

constexpr std::string_view signature = "EFI PART";
constexpr std::uint32_t revision = 0x00010000;
constexpr std::uint32_t least_header_size = 92;
constexpr std::size_t checksum_offset = 16;
constexpr std::uint32_t least_entry_size = 128;
constexpr std::uint32_t largest_entry_size = 4096;
constexpr std::size_t name_offset = 56;
constexpr std::size_t guid_size = 16;

struct gpt_type {
  std::string_view guid;
  std::string_view name;
};
constexpr std::array<gpt_type, 18> gpt_types = {{
    {"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EFI System"},
    {"21686148-6449-6E6F-744E-656564454649", "BIOS boot"},
    {"0FC63DAF-8483-4772-8E79-3D69D8477DE4", "Linux filesystem"},
    {"0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "Linux swap"},
    {"E6D6D379-F507-44C2-A23C-238F2A3DF928", "Linux LVM"},
    {"A19D880F-05FC-4D3B-A006-743F0F84911E", "Linux RAID"},
    {"BC13C2FF-59E6-4262-A352-B275FD6F7172", "Linux extended boot"},
    {"4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "Linux root (x86-64)"},
    {"B921B045-1DF0-41C3-AF44-4C6F280D3FAE", "Linux root (ARM-64)"},
    {"44479540-F297-41B2-9AF7-D131D5F0458A", "Linux root (x86)"},
    {"933AC7E1-2EB4-4F13-B844-0E14E2AEF915", "Linux home"},
    {"3B8F8425-20E0-4F3B-907F-1A25A76F98E8", "Linux server data"},
    {"EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "Microsoft basic data"},
    {"E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "Microsoft reserved"},
    {"DE94BBA4-06D1-4D40-A16A-BFD50179D6AC", "Windows recovery environment"},
    {"516E7CB6-6ECF-11D6-8FF8-00022D09712B", "FreeBSD UFS"},
    {"516E7CBA-6ECF-11D6-8FF8-00022D09712B", "FreeBSD ZFS"},
    {"6A898CC3-1DD2-11B2-99A6-080020736631", "ZFS"},
}};

std::string_view name_of(std::string_view guid) noexcept {
  const auto* found = std::find_if(gpt_types.begin(), gpt_types.end(),
                                   [&](const auto& known) { return known.guid == guid; });
  return found == gpt_types.end() ? std::string_view() : found->name;
}

error damaged(std::string reason) {
  return {std::error_code(EUCLEAN, std::generic_category()), std::move(reason)};
}

std::uint32_t checksum_of_header(std::span<const std::byte> header) {
  constexpr std::array<std::byte, sizeof(std::uint32_t)> zeros{};
  boost::crc_32_type crc;
  crc.process_bytes(header.data(), checksum_offset);
  crc.process_bytes(zeros.data(), zeros.size());  // the header was summed without its checksum
  const auto rest = header.subspan(checksum_offset + zeros.size());
  crc.process_bytes(rest.data(), rest.size());
  return crc.checksum();
}

/// The first three groups are little-endian integers.
std::string format_guid(std::span<const std::byte> bytes) {
  auto out = fmt::format("{:08X}-{:04X}-{:04X}-", load_little_endian<std::uint32_t>(bytes, 0),
                         load_little_endian<std::uint16_t>(bytes, 4),
                         load_little_endian<std::uint16_t>(bytes, 6));
  for (std::size_t i = 8; i < guid_size; ++i) {
    if (i == 10) out += '-';
    out += fmt::format("{:02X}", std::to_integer<unsigned>(bytes[i]));
  }
  return out;
}

void append_utf8(std::string& out, std::uint32_t point) {
  const auto add = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  const auto add_tail = [&](unsigned shift) { add(0x80U | (point >> shift & 0x3FU)); };
  if (point < 0x80) return add(point);
  if (point < 0x800) {
    add(0xC0U | point >> 6U);
    return add_tail(0);
  }
  if (point < 0x10000) {
    add(0xE0U | point >> 12U);
  } else {
    add(0xF0U | point >> 18U);
    add_tail(12);
  }
  add_tail(6);
  add_tail(0);
}

/// In sectors, without the end.
struct range {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

bool do_overlap(const range& left, const range& right) noexcept {
  return left.first < right.end && right.first < left.end;
}

std::string problem_of(std::uint64_t first, std::uint64_t last, const gpt_header& header,
                       const disk_extent& disk) {
  if (last < first) return "it ends before it starts";
  if (last >= disk.sectors()) return "it ends beyond the end of the disk";
  const range sectors{first, last + 1};
  const auto entries_sectors = (header.entries_size() + disk.sector_size - 1) / disk.sector_size;
  // The MBR and the primary header are in sectors 0 and 1.
  for (const auto& part : {range{0, 2}, range{header.own_sector, header.own_sector + 1},
                           range{header.entries_sector, header.entries_sector + entries_sectors}})
    if (do_overlap(sectors, part)) return "it contains parts of the GPT itself";
  if (first < header.first_usable || last > header.last_usable)
    return "it lies outside the sectors that the GPT reserves for partitions";
  return {};
}

}  // namespace

bool has_gpt_signature(std::span<const std::byte> sector) noexcept {
  return has_text(sector, 0, signature);
}

result<gpt_header> decode_gpt_header(std::span<const std::byte> sector, std::uint64_t own_sector,
                                     const disk_extent& disk) {
  if (!has_gpt_signature(sector)) return damaged("there is no header");
  const auto header_size = load_little_endian<std::uint32_t>(sector, 12);
  if (header_size < least_header_size || header_size > sector.size())
    return damaged(fmt::format("the header has an invalid size of {} bytes", header_size));
  if (checksum_of_header(sector.first(header_size)) !=
      load_little_endian<std::uint32_t>(sector, checksum_offset))
    return damaged("the header's checksum is wrong");
  const auto found_revision = load_little_endian<std::uint32_t>(sector, 8);
  if (found_revision != revision)
    return damaged(fmt::format("the header has the unknown revision {:#x}", found_revision));

  gpt_header header;
  header.own_sector = load_little_endian<std::uint64_t>(sector, 24);
  header.other_sector = load_little_endian<std::uint64_t>(sector, 32);
  header.first_usable = load_little_endian<std::uint64_t>(sector, 40);
  header.last_usable = load_little_endian<std::uint64_t>(sector, 48);
  header.entries_sector = load_little_endian<std::uint64_t>(sector, 72);
  header.entry_count = load_little_endian<std::uint32_t>(sector, 80);
  header.entry_size = load_little_endian<std::uint32_t>(sector, 84);
  header.entries_checksum = load_little_endian<std::uint32_t>(sector, 88);
  if (header.own_sector != own_sector)
    return damaged(fmt::format("the header belongs into sector {}", header.own_sector));
  const auto sectors = disk.sectors();
  if (header.last_usable >= sectors)
    return damaged(
        fmt::format("the GPT is for a larger disk: it uses sector {}, but this disk has {} sectors",
                    header.last_usable, sectors));
  if (header.first_usable > header.last_usable)
    return damaged("the header reserves no sectors for partitions");
  if (header.entry_size < least_entry_size || header.entry_size > largest_entry_size ||
      !std::has_single_bit(header.entry_size))
    return damaged(fmt::format("entries of {} bytes are not supported", header.entry_size));
  // Check the count first, so that the product does not overflow on 32-bit platforms.
  if (header.entry_count == 0 || header.entry_count > largest_gpt_entries ||
      header.entries_size() > largest_gpt_entries)
    return damaged(fmt::format("{} entries are not supported", header.entry_count));
  const auto entries_sectors = (header.entries_size() + disk.sector_size - 1) / disk.sector_size;
  if (header.entries_sector < 2 || header.entries_sector >= sectors ||
      entries_sectors > sectors - header.entries_sector)
    return damaged("the entries lie outside the disk");
  return header;
}

result<partition_table> decode_gpt_entries(std::span<const std::byte> bytes,
                                           const gpt_header& header, const disk_extent& disk) {
  boost::crc_32_type crc;
  crc.process_bytes(bytes.data(), bytes.size());
  if (crc.checksum() != header.entries_checksum)
    return damaged("the checksum of the entries is wrong");
  partition_table table;
  table.kind = partition_table_kind::gpt;
  for (std::uint32_t i = 0; i < header.entry_count; ++i) {
    const auto raw = bytes.subspan(std::size_t{i} * header.entry_size, header.entry_size);
    const auto type = raw.first(guid_size);
    if (std::all_of(type.begin(), type.end(), [](auto byte) { return byte == std::byte{0}; }))
      continue;
    partition one;
    one.number = i + 1;
    one.type = format_guid(type);
    one.type_name = name_of(one.type);
    one.name = decode_gpt_name(raw.subspan(name_offset));
    const auto first = load_little_endian<std::uint64_t>(raw, 32);
    const auto last = load_little_endian<std::uint64_t>(raw, 40);
    one.problem = problem_of(first, last, header, disk);
    if (one.problem.empty()) {
      one.offset = first * disk.sector_size;
      one.size = (last - first + 1) * disk.sector_size;
    }
    table.partitions.push_back(std::move(one));
  }
  return table;
}

std::string decode_gpt_name(std::span<const std::byte> bytes) {
  constexpr std::uint32_t replacement = 0xFFFD;
  std::string out;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    std::uint32_t point = load_little_endian<std::uint16_t>(bytes, i);
    if (point == 0) break;
    if (point >= 0xD800 && point < 0xDC00 && i + 3 < bytes.size()) {
      const auto low = load_little_endian<std::uint16_t>(bytes, i + 2);
      if (low >= 0xDC00 && low < 0xE000) {
        point = 0x10000U + ((point - 0xD800U) << 10U) + (low - 0xDC00U);
        i += 2;
      }
    }
    const bool is_surrogate = point >= 0xD800 && point < 0xE000;
    append_utf8(out, is_surrogate ? replacement : point);
  }
  return printable(out);
}

}  // namespace xenpv::blk
