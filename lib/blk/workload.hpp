// A benchmark load on a block device. Keeps a fixed number of requests of one kind in flight: the
// completion callback of a request submits the next one.
//
// Works with any kind of device, so that devices can be compared. The only overhead on the hot path
// is reading the clock once per request, and only for devices that do not measure time.
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
  operation op = operation::read;  ///< read or write; writes store pseudo-random bytes
  std::uint32_t block = 4096;      ///< bytes per request; a multiple of the sector size
  unsigned depth = 1;              ///< requests in flight, in total for all queues
  bool random = true;              ///< false: sequential, each queue in its own range
  std::chrono::nanoseconds time = std::chrono::seconds(1);
  /// The load ends early after this number of requests on each queue.
  std::uint64_t count = std::numeric_limits<std::uint64_t>::max();
  /// Use the device's own pages (block_queue::try_lease) if it has any, else private memory. If
  /// there are too few pages for `depth` whole blocks, each block is transferred in equal parts,
  /// one after the other. If there are fewer pages than `depth`, requests wait for pages, which
  /// counts as latency. Blocks that are not whole pages always use private memory.
  bool in_place = true;
};

struct workload_result {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;
  std::error_code first_error;
  std::chrono::nanoseconds time{};  ///< from the first submission to the last completion
  histogram latency_ns;

  [[nodiscard]] double per_second() const noexcept {
    return time.count() == 0
               ? 0
               : static_cast<double>(requests) / std::chrono::duration<double>(time).count();
  }
};

/// Runs `load` on one queue. Call on the queue's own thread. Throws `failure` if the load does not
/// fit the device: a block size that is not a multiple of the sector size or exceeds the device
/// size, depth 0, or a write to a read-only device. Counts failed requests instead of throwing.
/// Cannot be cancelled.
[[nodiscard]] asio::awaitable<workload_result> run(block_queue& queue, workload load);

/// Runs `load` on all queues of the device and divides its depth among them. If there are fewer
/// requests than queues, some queues stay idle. May be called from any thread; otherwise like the
/// overload above.
[[nodiscard]] asio::awaitable<workload_result> run(block_device& device, workload load);

}  // namespace xenpv::blk
