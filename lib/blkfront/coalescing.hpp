// How many answers to wait for before an event: the rsp_event policy. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace xenpv::blkfront {

/// How long an answer may wait for others to share its event, while answers keep coming as they
/// did: about what an event costs both ends.
inline constexpr std::uint64_t coalescing_window_ns = 32'000;

/// The distance for engine::arm(): the answers to expect within the window, at most half of those
/// in flight, because the last ones may be slow. `interval_ns`: time between answers, lately.
[[nodiscard]] constexpr std::uint32_t event_distance(std::uint32_t in_flight,
                                                     std::uint64_t interval_ns) noexcept {
  const auto expected = coalescing_window_ns / std::max<std::uint64_t>(interval_ns, 1);
  const auto most = std::max(1U, in_flight / 2);
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(expected, 1, most));
}

}  // namespace xenpv::blkfront
