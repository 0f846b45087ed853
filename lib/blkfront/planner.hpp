// Maps a byte range to ring requests: the whole sectors of the range, the sectors that need
// read-modify-write, the bytes that fit into one request, and the segments of a request. Pure
// functions.
//
// Positions are relative to the pages of the range, which begin with the sector that contains the
// first byte: position 0 is the start of a sector, and sectors do not cross page boundaries.
#pragma once

#include <cstdint>
#include <optional>

#include "xenpv/base/types.hpp"
#include "xenpv/wire/blkif.hpp"

namespace xenpv::blkfront {

/// A byte range of a device, from `begin` up to `end`.
struct stretch {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  [[nodiscard]] constexpr std::uint64_t size() const noexcept { return end - begin; }
  [[nodiscard]] constexpr bool empty() const noexcept { return begin >= end; }
  [[nodiscard]] constexpr bool overlaps(const stretch& other) const noexcept {
    return begin < other.end && other.begin < end;
  }
  friend constexpr bool operator==(const stretch&, const stretch&) = default;
};

/// Returns the smallest range of whole sectors that contains `s`.
[[nodiscard]] constexpr stretch cover(const stretch& s, std::uint32_t sector_size) noexcept {
  const auto rest = s.end % sector_size;
  return {s.begin - s.begin % sector_size, rest == 0 ? s.end : s.end - rest + sector_size};
}

/// An unaligned write: at most two sectors need read-modify-write.
struct write_plan {
  std::optional<stretch> head;  ///< bytes in a partial first sector
  std::optional<stretch> tail;  ///< bytes in a partial last sector
  stretch middle;               ///< whole sectors; may be empty
  friend bool operator==(const write_plan&, const write_plan&) = default;
};
[[nodiscard]] write_plan plan_write(const stretch& bytes, std::uint32_t sector_size) noexcept;

/// The part of a discard that is sent: whole granules, counted from `alignment`. An empty result is
/// not an error, because a discard is advisory.
[[nodiscard]] stretch plan_discard(const stretch& bytes, std::uint64_t granularity,
                                   std::uint64_t alignment) noexcept;

/// Returns the number of pages that `bytes` bytes at `position` touch.
[[nodiscard]] constexpr std::uint32_t pages_touched(std::uint64_t position,
                                                    std::uint64_t bytes) noexcept {
  if (bytes == 0) return 0;
  return static_cast<std::uint32_t>((position + bytes - 1) / page_size - position / page_size + 1);
}

/// Returns how many of the `left` bytes at `position` fit into `segments` segments. A segment does
/// not cross a page boundary.
[[nodiscard]] constexpr std::uint64_t bytes_in_segments(std::uint64_t position, std::uint64_t left,
                                                        std::uint32_t segments) noexcept {
  const auto capacity = std::uint64_t{segments} * page_size - position % page_size;
  return left < capacity ? left : capacity;
}

/// Returns the segment for the part of [position, position + left) in the page of `position`.
/// `unit` is the backend's sector unit in bytes.
[[nodiscard]] constexpr wire::blkif_segment segment_at(std::uint64_t position, std::uint64_t left,
                                                       std::uint32_t unit,
                                                       grant_ref page) noexcept {
  const auto first = position % page_size;
  const auto end = left < page_size - first ? first + left : page_size;
  return {raw(page), static_cast<std::uint8_t>(first / unit),
          static_cast<std::uint8_t>(end / unit - 1), 0};
}

}  // namespace xenpv::blkfront
