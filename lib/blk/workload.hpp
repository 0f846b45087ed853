// A benchmark load on a block device: keeps a fixed number of requests of one kind in flight, and
// replaces each request from its completion callback.
//
// Independent of the kind of device, so that devices can be compared. The only overhead on the hot
// path is one clock reading per request, for devices that do not measure time. Prints nothing.
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
  std::uint32_t block = 4096;      ///< bytes of each request; whole sectors
  unsigned depth = 1;              ///< requests in flight, over all queues
  bool random = true;              ///< false: sequential, each queue in its own range
  std::chrono::nanoseconds time = std::chrono::seconds(1);
  /// Requests on each queue after which the load ends early.
  std::uint64_t count = std::numeric_limits<std::uint64_t>::max();
  /// Use the device's own pages (block_queue::try_lease) if it has any, else private memory. If the
  /// pages do not suffice for `depth` whole blocks, each block is transferred in equal pieces, one
  /// after the other. If there are fewer pages than `depth`, requests wait for pages, which counts
  /// as latency. Blocks that are not whole pages always use private memory.
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

/// Runs `load` on one queue. For the queue's own thread. Throws `failure` if the load does not suit
/// the device: a block that is not whole sectors or exceeds the device, depth 0, a write to a
/// read-only device. Failed requests are counted, not thrown. Not cancellable.
[[nodiscard]] async::asio::awaitable<workload_result> run(block_queue& queue, workload load);

/// Runs `load` on all queues of the device and divides its depth among them; with fewer requests
/// than queues, some queues stay idle. From any thread. Otherwise as above.
[[nodiscard]] async::asio::awaitable<workload_result> run(block_device& device, workload load);

}  // namespace xenpv::blk
