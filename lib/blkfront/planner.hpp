// How a stretch of bytes becomes ring requests: which whole sectors it covers, where it has to be
// read, modified and written, how much fits into one request, and what its segments are. Pure.
//
// Positions: a stretch's pages begin with the sector that its first byte is in, so position 0 is a
// sector's start, and whole sectors never cross a page.
#pragma once

#include <cstdint>
#include <optional>

#include "xenpv/base/types.hpp"
#include "xenpv/wire/blkif.hpp"

namespace xenpv::blkfront {

/// Bytes of a device, from `begin` up to `end`.
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

/// The smallest run of whole sectors around `s`.
[[nodiscard]] constexpr stretch cover(const stretch& s, std::uint32_t sector_size) noexcept {
  const auto rest = s.end % sector_size;
  return {s.begin - s.begin % sector_size, rest == 0 ? s.end : s.end - rest + sector_size};
}

/// A write that is not made of whole sectors: at most two sectors have to be merged with what is
/// there.
struct write_plan {
  std::optional<stretch> head;  ///< bytes within the first sector; that sector is merged
  std::optional<stretch> tail;  ///< bytes within the last sector
  stretch middle;               ///< whole sectors; may be empty
  friend bool operator==(const write_plan&, const write_plan&) = default;
};
[[nodiscard]] write_plan plan_write(const stretch& bytes, std::uint32_t sector_size) noexcept;

/// The part of a discard that is worth sending: whole granules, counted from `alignment`. May be
/// empty, which is no error: a discard is advice.
[[nodiscard]] stretch plan_discard(const stretch& bytes, std::uint64_t granularity,
                                   std::uint64_t alignment) noexcept;

/// Pages that `bytes` bytes from `position` on touch.
[[nodiscard]] constexpr std::uint32_t pages_touched(std::uint64_t position,
                                                    std::uint64_t bytes) noexcept {
  if (bytes == 0) return 0;
  return static_cast<std::uint32_t>((position + bytes - 1) / page_size - position / page_size + 1);
}

/// Bytes from `position` on, of `left`, that `segments` segments hold: a segment is within one
/// page.
[[nodiscard]] constexpr std::uint64_t bytes_in_segments(std::uint64_t position, std::uint64_t left,
                                                        std::uint32_t segments) noexcept {
  const auto room = std::uint64_t{segments} * page_size - position % page_size;
  return left < room ? left : room;
}

/// The segment for what of [position, position + left) is in position's page. `unit`: what the
/// backend counts sectors in.
[[nodiscard]] constexpr wire::blkif_segment segment_at(std::uint64_t position, std::uint64_t left,
                                                       std::uint32_t unit,
                                                       grant_ref page) noexcept {
  const auto first = position % page_size;
  const auto end = left < page_size - first ? first + left : page_size;
  return {raw(page), static_cast<std::uint8_t>(first / unit),
          static_cast<std::uint8_t>(end / unit - 1), 0};
}

}  // namespace xenpv::blkfront
