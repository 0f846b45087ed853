#include "blkfront/planner.hpp"

namespace xenpv::blkfront {

write_plan plan_write(const stretch& bytes, std::uint32_t sector_size) noexcept {
  write_plan plan;
  const auto sectors = cover(bytes, sector_size);
  auto middle = sectors;
  if (bytes.begin != sectors.begin) {
    middle.begin = sectors.begin + sector_size;
    plan.head = stretch{bytes.begin, bytes.end < middle.begin ? bytes.end : middle.begin};
  }
  // A write within one sector has only a head, unless it begins at the start of the sector.
  const bool ends_in_head = plan.head && plan.head->end == bytes.end;
  if (bytes.end != sectors.end && !ends_in_head) {
    middle.end = sectors.end - sector_size;
    plan.tail = stretch{middle.end, bytes.end};
  }
  if (ends_in_head || middle.empty()) middle = {middle.begin, middle.begin};
  plan.middle = middle;
  return plan;
}

stretch plan_discard(const stretch& bytes, std::uint64_t granularity,
                     std::uint64_t alignment) noexcept {
  // Granules are counted from `alignment`; bytes before it do not belong to a granule.
  const auto round_up = [&](std::uint64_t offset) {
    if (offset <= alignment) return alignment;
    const auto rest = (offset - alignment) % granularity;
    if (rest == 0) return offset;
    // The start of the next granule may overflow 64 bits.
    const auto step = granularity - rest;
    return step > ~std::uint64_t{0} - offset ? ~std::uint64_t{0} : offset + step;
  };
  const auto round_down = [&](std::uint64_t offset) {
    return offset <= alignment ? alignment : offset - (offset - alignment) % granularity;
  };
  const stretch whole{round_up(bytes.begin), round_down(bytes.end)};
  return whole.empty() ? stretch{bytes.begin, bytes.begin} : whole;
}

}  // namespace xenpv::blkfront
