// The start and the end of a disk with a hostile partition table: the scan ends, asks only for
// sectors of the disk, and a partition that can be used lies within the disk and outside the table.
//
// The first two bytes configure the disk; the others are its contents. With one bit of the first
// byte set, the checksums of the GPT are repaired, because a wrong checksum ends the parsing early.
#include <algorithm>
#include <boost/crc.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <span>
#include <vector>

#include "base/utf8.hpp"
#include "blk/partition_scan.hpp"

namespace {

using namespace xenpv::blk;

void expect(bool promise, unsigned line = __builtin_LINE()) {
  if (promise) return;
  std::fprintf(stderr, "line %u: expectation violated\n", line);
  std::abort();
}

std::uint64_t load(std::span<const std::byte> bytes, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i > 0; --i)
    value = value << 8U | std::to_integer<std::uint64_t>(bytes[offset + i - 1]);
  return value;
}

void store_checksum(std::span<std::byte> bytes, std::size_t offset,
                    std::span<const std::byte> summed) {
  boost::crc_32_type crc;
  crc.process_bytes(summed.data(), summed.size());
  for (std::size_t i = 0; i < 4; ++i)
    bytes[offset + i] = static_cast<std::byte>(crc.checksum() >> (8U * i));
}

void repair_checksums(std::span<std::byte> disk, std::size_t sector, std::size_t sector_size) {
  const auto header = disk.subspan(sector * sector_size, sector_size);
  const auto first = load(header, 72, 8);
  const auto length = load(header, 80, 4) * load(header, 84, 4);
  if (first < disk.size() / sector_size && length <= disk.size() - first * sector_size)
    store_checksum(header, 88, disk.subspan(first * sector_size, length));
  std::fill_n(header.begin() + 16, 4, std::byte{0});
  const auto size = std::clamp<std::uint64_t>(load(header, 12, 4), 92, sector_size);
  store_checksum(header, 16, header.first(size));
}

void check(const partition_table& table, const disk_extent& disk) {
  std::uint64_t last_number = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& one : table.partitions) {
    expect(one.number > last_number);
    last_number = one.number;
    expect(!one.type.empty());
    expect(xenpv::printable(one.name) == one.name);
    const auto found = table.find(one.number);
    expect(found.has_value() == one.problem.empty());
    if (!found) continue;
    expect(one.size > 0 && one.size <= disk.size && one.offset <= disk.size - one.size);
    expect(one.offset % disk.sector_size == 0 && one.size % disk.sector_size == 0);
    const bool may_overlap = table.kind == partition_table_kind::mbr && one.number <= 4;
    if (!may_overlap) ranges.emplace_back(one.offset, one.offset + one.size);
    expect(may_overlap || one.offset >= disk.sector_size);
  }
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 1; i < ranges.size(); ++i)
    expect(ranges[i - 1].second <= ranges[i].first);
  expect(!table.find(std::numeric_limits<unsigned>::max()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t sector_size = std::size_t{512} << (data[0] & 3U);
  const bool is_repaired = (data[0] & 4U) != 0;
  const auto contents = std::as_bytes(std::span(data, size)).subspan(2);
  // Zeros between the contents' last sector and the others.
  const auto gap = std::size_t{data[1]} * sector_size;
  std::vector<std::byte> disk(contents.begin(), contents.end());
  disk.insert(disk.end() - static_cast<std::ptrdiff_t>(std::min(disk.size(), sector_size)), gap,
              std::byte{0});
  const disk_extent extent{disk.size(), static_cast<std::uint32_t>(sector_size)};
  if (is_repaired && extent.sectors() > 2) {
    repair_checksums(disk, 1, sector_size);
    repair_checksums(disk, extent.sectors() - 1, sector_size);
  }
  partition_scan scan(extent);
  unsigned reads = 0;
  while (const auto range = scan.next()) {
    expect(++reads <= 600);
    expect(range->length > 0 && range->length <= partition_scan::largest_read);
    expect(range->length <= disk.size() && range->offset <= disk.size() - range->length);
    expect(range->offset % sector_size == 0 && range->length % sector_size == 0);
    scan.accept(std::span(disk).subspan(range->offset, range->length));
  }
  const auto table = scan.finish();
  if (table) {
    check(*table, extent);
  } else {
    expect(table.error().text.starts_with("cannot read the partition table: "));
  }
  return 0;
}
