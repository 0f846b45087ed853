// The sizes that the dispatcher splits requests and allocates memory by. Private to the dispatcher.
#pragma once

#include <cstddef>
#include <cstdint>

#include "xenpv/base/types.hpp"

namespace xenpv::nbd {

/// Size of each device request for a large client request: large enough for one indirect request of
/// the usual size, small enough that the device processes it while the socket transfers the next
/// one.
inline constexpr std::uint64_t largest_device_request = std::uint64_t{256} << 10;
inline constexpr std::uint64_t smallest_device_request = std::uint64_t{32} << 10;

/// The same while other connections need fast answers: the device and this thread then turn to them
/// sooner.
inline constexpr std::uint64_t short_device_request = std::uint64_t{32} << 10;

/// Maximum number of buffers kept for reuse.
inline constexpr std::size_t most_spare = 16;

/// A lease may use at most 1/lease_share of the pool.
inline constexpr std::size_t lease_share = 8;

/// Returns the length of the next device request for `left` bytes at `offset`, at most `most`. All
/// requests but the last end at a page boundary, so that only the sectors at the two ends of an
/// unaligned write may need to be merged with existing data.
[[nodiscard]] std::uint64_t device_request_length(std::uint64_t offset, std::uint64_t left,
                                                  std::uint64_t most);

}  // namespace xenpv::nbd
