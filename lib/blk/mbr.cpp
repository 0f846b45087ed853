#include "blk/mbr.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blk/little_endian.hpp"

namespace xenpv::blk {
namespace {

constexpr std::size_t entries_offset = 0x1BE;
constexpr std::size_t entry_size = 16;
constexpr std::size_t signature_offset = 0x1FE;
constexpr std::uint16_t boot_signature = 0xAA55;

/// Linux supports 256 minor numbers per disk, so a longer chain has no use. Also bounds the reads.
constexpr std::size_t most_boot_records = 512;
constexpr unsigned highest_number = 255;

struct mbr_type {
  std::uint8_t type;
  std::string_view name;
};
constexpr std::array<mbr_type, 22> mbr_types = {{
    {0x01, "FAT12"},
    {0x04, "FAT16 <32M"},
    {0x05, "Extended"},
    {0x06, "FAT16"},
    {0x07, "HPFS/NTFS/exFAT"},
    {0x0B, "W95 FAT32"},
    {0x0C, "W95 FAT32 (LBA)"},
    {0x0E, "W95 FAT16 (LBA)"},
    {0x0F, "W95 Ext'd (LBA)"},
    {0x27, "Hidden NTFS WinRE"},
    {0x42, "SFS"},
    {0x82, "Linux swap / Solaris"},
    {0x83, "Linux"},
    {0x85, "Linux extended"},
    {0x8E, "Linux LVM"},
    {0xA5, "FreeBSD"},
    {0xA6, "OpenBSD"},
    {0xA9, "NetBSD"},
    {0xBF, "Solaris"},
    {0xEE, "GPT"},
    {0xEF, "EFI (FAT-12/16/32)"},
    {0xFD, "Linux raid autodetect"},
}};

std::string_view name_of(std::uint8_t type) noexcept {
  const auto* found = std::find_if(mbr_types.begin(), mbr_types.end(),
                                   [&](const auto& known) { return known.type == type; });
  return found == mbr_types.end() ? std::string_view() : found->name;
}

}  // namespace

bool mbr_entry::is_extended() const noexcept {
  return type == 0x05 || type == 0x0F || type == 0x85;
}

std::optional<mbr_entries> decode_mbr(std::span<const std::byte> sector) {
  if (load_little_endian<std::uint16_t>(sector, signature_offset) != boot_signature)
    return std::nullopt;
  mbr_entries entries;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto raw = sector.subspan(entries_offset + i * entry_size, entry_size);
    auto& entry = entries.at(i);
    entry.status = load_little_endian<std::uint8_t>(raw, 0);
    entry.type = load_little_endian<std::uint8_t>(raw, 4);
    entry.first = load_little_endian<std::uint32_t>(raw, 8);
    entry.sectors = load_little_endian<std::uint32_t>(raw, 12);
    if ((entry.status & 0x7FU) != 0) return std::nullopt;
  }
  return entries;
}

mbr_reader::mbr_reader(disk_extent disk, const mbr_entries& primary) : disk_(disk) {
  table_.kind = partition_table_kind::mbr;
  unsigned number = 0;
  for (const auto& entry : primary) {
    ++number;
    if (!entry.is_used()) continue;
    add(number, entry, entry.first);
    if (!entry.is_extended()) continue;
    auto& container = table_.partitions.back();
    if (container.problem.empty()) {
      containers_.push_back({entry.first, std::uint64_t{entry.first} + entry.sectors});
      container.problem = "it is an extended partition (use one of its logical partitions)";
    } else {
      table_.warnings.push_back(
          fmt::format("extended partition {}: {}: its logical partitions are ignored", number,
                      container.problem));
    }
  }
  if (!containers_.empty()) next_ = containers_.front().first;
}

partition_table mbr_reader::take() {
  for (auto& one : table_.partitions) {
    if (!one.problem.empty()) continue;
    if (one.offset == 0)
      table_.warnings.push_back(fmt::format("partition {} contains the MBR", one.number));
    const auto first = one.offset / disk_.sector_size;
    const auto end = first + one.size / disk_.sector_size;
    const auto is_inside = [&](auto sector) { return sector >= first && sector < end; };
    if (std::any_of(visited_.begin(), visited_.end(), is_inside))
      one.problem = "it contains the EBR of a logical partition";
  }
  return std::move(table_);
}

void mbr_reader::add(unsigned number, const mbr_entry& entry, std::uint64_t first) {
  partition one;
  one.number = number;
  one.offset = first * disk_.sector_size;
  one.size = std::uint64_t{entry.sectors} * disk_.sector_size;
  one.type = fmt::format("{:x}", entry.type);
  one.type_name = name_of(entry.type);
  if (first + entry.sectors > disk_.sectors()) one.problem = "it ends beyond the end of the disk";
  table_.partitions.push_back(std::move(one));
}

void mbr_reader::accept(std::span<const std::byte> sector) {
  if (!next_) return;
  visited_.push_back(*next_);
  const auto entries = decode_mbr(sector);
  if (!entries) {
    // Partitioning programs differ in whether they write an EBR into an empty extended partition.
    if (*next_ != containers_[container_].first) return end_chain("an EBR is invalid");
    return enter_next_container();
  }
  add_logical(*entries);
  const auto* link = std::find_if(entries->begin(), entries->end(), [](const auto& entry) {
    return entry.is_used() && entry.is_extended();
  });
  if (link == entries->end()) return enter_next_container();
  follow(*link);
}

void mbr_reader::add_logical(const mbr_entries& entries) {
  const auto container = containers_[container_];
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& entry = entries.at(i);
    if (!entry.is_used() || entry.is_extended()) continue;
    const auto first = *next_ + entry.first;
    const bool is_outside = first < container.first || first + entry.sectors > container.end;
    // Linux ignores the last two entries of an EBR unless they are plausible: some programs leave
    // garbage there.
    if (i >= 2 && is_outside) continue;
    if (next_number_ > highest_number) return;
    add(next_number_++, entry, first);
    auto& added = table_.partitions.back();
    if (!added.problem.empty()) continue;
    if (is_outside) added.problem = "it lies outside its extended partition";
  }
}

void mbr_reader::follow(const mbr_entry& link) {
  const auto container = containers_[container_];
  const auto target = container.first + link.first;
  if (target >= container.end) return end_chain("a link leaves the extended partition");
  if (std::find(visited_.begin(), visited_.end(), target) != visited_.end())
    return end_chain("a link leads back");
  if (visited_.size() >= most_boot_records || next_number_ > highest_number)
    return end_chain("the chain is too long");
  next_ = target;
}

void mbr_reader::end_chain(std::string_view reason) {
  table_.warnings.push_back(fmt::format(
      "the chain of logical partitions is damaged: {}; partitions from number {} on are unknown",
      reason, next_number_));
  enter_next_container();
}

void mbr_reader::enter_next_container() {
  ++container_;
  next_.reset();
  while (container_ < containers_.size()) {
    const auto first = containers_[container_].first;
    if (std::find(visited_.begin(), visited_.end(), first) == visited_.end()) {
      next_ = first;
      return;
    }
    ++container_;
  }
}

}  // namespace xenpv::blk
