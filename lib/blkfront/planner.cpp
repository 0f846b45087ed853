#include "blkfront/planner.hpp"

namespace xenpv::blkfront {

write_plan plan_write(const stretch& bytes, std::uint32_t sector_size) noexcept {
  write_plan plan;
  const auto around = cover(bytes, sector_size);
  auto middle = around;
  if (bytes.begin != around.begin) {
    middle.begin = around.begin + sector_size;
    plan.head = stretch{bytes.begin, bytes.end < middle.begin ? bytes.end : middle.begin};
  }
  // A write within one sector is all head, unless it starts with that sector.
  const bool ends_in_head = plan.head && plan.head->end == bytes.end;
  if (bytes.end != around.end && !ends_in_head) {
    middle.end = around.end - sector_size;
    plan.tail = stretch{middle.end, bytes.end};
  }
  if (ends_in_head || middle.empty()) middle = {middle.begin, middle.begin};
  plan.middle = middle;
  return plan;
}

stretch plan_discard(const stretch& bytes, std::uint64_t granularity,
                     std::uint64_t alignment) noexcept {
  // Shifted so that granules begin at multiples; bytes before the first granule have no granule.
  const auto round_up = [&](std::uint64_t at) {
    if (at <= alignment) return alignment;
    const auto rest = (at - alignment) % granularity;
    if (rest == 0) return at;
    // The next granule may begin beyond what 64 bits count.
    const auto step = granularity - rest;
    return step > ~std::uint64_t{0} - at ? ~std::uint64_t{0} : at + step;
  };
  const auto round_down = [&](std::uint64_t at) {
    return at <= alignment ? alignment : at - (at - alignment) % granularity;
  };
  const stretch whole{round_up(bytes.begin), round_down(bytes.end)};
  return whole.empty() ? stretch{bytes.begin, bytes.begin} : whole;
}

}  // namespace xenpv::blkfront
