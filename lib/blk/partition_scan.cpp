#include "blk/partition_scan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "blk/disk_signature.hpp"

namespace xenpv::blk {
namespace {

constexpr std::uint32_t least_sector_size = 512;
constexpr std::uint32_t largest_sector_size = 4096;
constexpr std::string_view repair_gpt = "repair it with sgdisk(8) or gdisk(8)";

std::string describe_header(std::uint64_t sector) {
  return sector == 1 ? std::string("primary") : fmt::format("backup in sector {}", sector);
}

}  // namespace

partition_scan::partition_scan(disk_extent disk) : disk_(disk) {
  if (!std::has_single_bit(disk.sector_size) || disk.sector_size < least_sector_size ||
      disk.sector_size > largest_sector_size) {
    outcome_ = error{make_error_code(errc::invalid_argument),
                     fmt::format("cannot read the partition table: sectors of {} bytes are not "
                                 "supported (512 to 4096)",
                                 disk.sector_size)};
    return;
  }
  const auto length = std::min<std::uint64_t>(disk.sectors() * disk.sector_size, signature_area);
  if (length == 0) {
    fail("the disk is smaller than a sector", "insert a medium or resize the disk");
    return;
  }
  read(0, static_cast<std::size_t>(length));
}

void partition_scan::read(std::uint64_t sector, std::size_t length) {
  next_ = byte_range{sector * disk_.sector_size, length};
}

void partition_scan::accept(std::span<const std::byte> bytes) {
  if (!next_ || bytes.size() != next_->length) return;
  const auto sector = next_->offset / disk_.sector_size;
  next_.reset();
  switch (stage_) {
    case stage::start:
      return accept_start(bytes);
    case stage::gpt_header:
      return accept_header(bytes, sector);
    case stage::gpt_entries:
      entries_.insert(entries_.end(), bytes.begin(), bytes.end());
      return read_more_entries();
    case stage::boot_records:
      mbr_->accept(bytes);
      return continue_mbr();
  }
}

result<partition_table> partition_scan::finish() {
  if (outcome_) return *outcome_;
  return error{make_error_code(errc::invalid_argument),
               "cannot read the partition table: the scan has not ended"};
}

void partition_scan::accept_start(std::span<const std::byte> bytes) {
  start_.assign(bytes.begin(), bytes.end());
  const auto entries = decode_mbr(bytes.first(disk_.sector_size));
  if (entries && std::any_of(entries->begin(), entries->end(),
                             [](const auto& entry) { return entry.is_protective(); }))
    return start_gpt(*entries);
  if (entries && std::any_of(entries->begin(), entries->end(),
                             [](const auto& entry) { return entry.is_used(); }))
    return start_mbr(*entries);
  outcome_ = missing_table();
}

void partition_scan::start_mbr(const mbr_entries& entries) {
  const auto size = disk_.sector_size;
  if (start_.size() >= std::size_t{2} * size &&
      decode_gpt_header(std::span(start_).subspan(size, size), 1, disk_)) {
    // A table made by a program without GPT support leaves sector 1 free. An entry that covers
    // sector 1 is a protective one whose type was damaged.
    if (std::any_of(entries.begin(), entries.end(), [](const auto& entry) {
          return entry.first <= 1 && std::uint64_t{entry.first} + entry.sectors > 1;
        }))
      return fail("the disk has a GPT, but its protective MBR is damaged", repair_gpt);
    warnings_.emplace_back("the GPT is ignored, because the MBR does not protect it");
  }
  mbr_.emplace(disk_, entries);
  stage_ = stage::boot_records;
  continue_mbr();
}

void partition_scan::continue_mbr() {
  if (const auto sector = mbr_->next_sector()) return read(*sector, disk_.sector_size);
  end(mbr_->take());
}

void partition_scan::start_gpt(const mbr_entries& entries) {
  if (std::any_of(entries.begin(), entries.end(), [](const auto& entry) {
        return entry.type != 0 && entry.is_used() && !entry.is_protective();
      }))
    warnings_.emplace_back("the MBR has partitions of its own (a hybrid MBR): they are ignored");
  const auto sectors = disk_.sectors();
  const auto size = disk_.sector_size;
  if (sectors < 2 || start_.size() < std::size_t{2} * size)
    return fail("the disk has a protective MBR, but is too small for a GPT", repair_gpt);
  if (sectors > 2) backups_.push_back(sectors - 1);
  accept_header(std::span(start_).subspan(size, size), 1);
}

void partition_scan::accept_header(std::span<const std::byte> bytes, std::uint64_t sector) {
  header_sector_ = sector;
  auto header = decode_gpt_header(bytes, sector, disk_);
  if (!header) return try_next_header(header.error().text);
  header_ = *header;
  const auto other = header_.other_sector;
  if (sector == 1 && other > 1 && other < disk_.sectors() - 1) backups_.push_back(other);
  entries_.clear();
  stage_ = stage::gpt_entries;
  read_more_entries();
}

void partition_scan::read_more_entries() {
  const std::size_t size = disk_.sector_size;
  const auto whole = (header_.entries_size() + size - 1) / size * size;
  if (entries_.size() >= whole) return finish_gpt();
  read(header_.entries_sector + entries_.size() / size,
       std::min(whole - entries_.size(), largest_read));
}

void partition_scan::finish_gpt() {
  auto table =
      decode_gpt_entries(std::span(entries_).first(header_.entries_size()), header_, disk_);
  if (!table) return try_next_header(table.error().text);
  if (!gpt_damage_.empty()) {
    warnings_.push_back(fmt::format("the GPT is damaged ({}): using the {} ({})", gpt_damage_,
                                    describe_header(header_sector_), repair_gpt));
  }
  end(std::move(*table));
}

void partition_scan::try_next_header(std::string reason) {
  if (!gpt_damage_.empty()) gpt_damage_ += "; ";
  gpt_damage_ += fmt::format("{}: {}", describe_header(header_sector_), reason);
  if (backups_.empty()) {
    const auto hint = contents_of_other_size();
    return hint.empty() ? fail(fmt::format("the GPT is damaged: {}", gpt_damage_), repair_gpt)
                        : fail(hint, "serve a range of bytes instead");
  }
  stage_ = stage::gpt_header;
  read(backups_.back(), disk_.sector_size);
  backups_.pop_back();
}

void partition_scan::fail(std::string reason, std::string_view remedy) {
  outcome_ = error{std::error_code(EUCLEAN, std::generic_category()),
                   fmt::format("cannot read the partition table: {} ({})", reason, remedy)};
}

void partition_scan::end(partition_table table) {
  mark_overlaps(table);
  table.warnings.insert(table.warnings.begin(), warnings_.begin(), warnings_.end());
  outcome_ = std::move(table);
}

error partition_scan::missing_table() const {
  const auto size = disk_.sector_size;
  std::string found;
  if (start_.size() >= std::size_t{2} * size &&
      decode_gpt_header(std::span(start_).subspan(size, size), 1, disk_)) {
    return {std::error_code(EUCLEAN, std::generic_category()),
            fmt::format("cannot read the partition table: the disk has a GPT without a protective "
                        "MBR ({})",
                        repair_gpt)};
  }
  const auto contents = recognise_contents(start_);
  if (!contents.empty()) found = fmt::format("; it holds {}", contents);
  return {std::make_error_code(std::errc::no_such_device_or_address),
          fmt::format("cannot read the partition table: the disk has none{} (use the whole disk)",
                      found)};
}

std::string partition_scan::contents_of_other_size() const {
  for (auto other = least_sector_size; other <= largest_sector_size; other *= 2) {
    if (other == disk_.sector_size || start_.size() < other + least_sector_size) continue;
    if (has_gpt_signature(std::span(start_).subspan(other)))
      return fmt::format("the GPT was made for sectors of {} bytes, but those of this disk have {}",
                         other, disk_.sector_size);
  }
  return {};
}

}  // namespace xenpv::blk
