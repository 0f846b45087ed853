// A load on a block device, to measure it with: so many requests of one kind in flight, each
// answered one replaced at once, from the answer's own callback.
//
// The same for every kind of device, so that two of them can be compared. Nothing of it is on the
// hot path but, for a device that keeps no time itself, a look at the clock for each request.
// Prints nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <system_error>

#include "xenpv/async/asio.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::blk {

struct workload {
  operation op = operation::read;  ///< read or write; a write puts pseudo-random bytes there
  std::uint32_t block = 4096;      ///< bytes of each request; whole sectors
  unsigned depth = 1;              ///< in flight, over all queues together
  bool random = true;              ///< else in order, each queue in a stretch of its own
  std::chrono::nanoseconds time = std::chrono::seconds(1);
  /// Stop after so many on each queue, whatever the time.
  std::uint64_t count = std::numeric_limits<std::uint64_t>::max();
  /// The bytes lie in the device's own pages where it has some (block_queue::try_lease), else in
  /// memory of the load. Where its pages are too few for `depth` whole blocks, a block goes through
  /// them in equal pieces, one after the other; where they are fewer than `depth`, requests wait
  /// for each other's, which counts as latency. Blocks that are no whole pages never lie there.
  bool in_place = true;
};

struct workload_result {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;
  std::error_code first_error;
  std::chrono::nanoseconds time{};  ///< from the first submission to the last answer
  histogram latency_ns;

  [[nodiscard]] double per_second() const noexcept {
    return time.count() == 0
               ? 0
               : static_cast<double>(requests) / std::chrono::duration<double>(time).count();
  }
};

/// Puts `load` on one queue. For the queue's own thread. Throws `failure` for a load that makes no
/// sense on this device: a block of no whole sectors or larger than the device, no depth, a write
/// to a read-only device. Requests that fail are counted, not thrown. Not cancellable.
[[nodiscard]] async::asio::awaitable<workload_result> run(block_queue& queue, workload load);

/// Puts `load` on all queues of the device, with its depth shared out among them (queues that get
/// no part of it stay idle). From any thread. Otherwise like the other.
[[nodiscard]] async::asio::awaitable<workload_result> run(block_device& device, workload load);

}  // namespace xenpv::blk
