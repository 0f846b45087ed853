// Event coalescing: how many responses share one event (rsp_event). Pure functions.
#pragma once

#include <algorithm>
#include <cstdint>

namespace xenpv::blkfront {

/// How long a response may wait for further responses to share its event, while responses arrive at
/// a steady rate: about the CPU time that one event costs both ends.
inline constexpr std::uint64_t coalescing_window_ns = 32'000;

/// The distance for engine::arm(): the number of responses expected within the window, but at most
/// half of the requests in flight, because the last responses may be slow. `interval_ns` is the
/// recent interval between responses.
[[nodiscard]] constexpr std::uint32_t event_distance(std::uint32_t in_flight,
                                                     std::uint64_t interval_ns) noexcept {
  const auto expected = coalescing_window_ns / std::max<std::uint64_t>(interval_ns, 1);
  const auto limit = std::max(1U, in_flight / 2);
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(expected, 1, limit));
}

}  // namespace xenpv::blkfront
