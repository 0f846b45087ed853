// Counters of one queue, or the totals for all of a frontend's queues. Not atomic: snapshots are
// taken on the queue's thread.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "xenpv/base/histogram.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

/// Counts for one kind of operation.
struct operation_statistics {
  std::uint64_t requests = 0;  ///< completed requests
  std::uint64_t bytes = 0;     ///< bytes of successful requests
  std::uint64_t errors = 0;    ///< requests that failed
  histogram latency_ns;  ///< measured from the event-loop iteration that submitted the request
};

/// Counts since the device was opened.
struct queue_statistics {
  /// Indexed by blk::operation.
  std::array<operation_statistics, blk::operation_count> operations;
  histogram segments;                     ///< segments per ring request with data
  histogram depth;                        ///< ring requests in flight at each publication
  std::uint64_t ring_requests = 0;        ///< published in the ring
  std::uint64_t indirect_requests = 0;    ///< ring requests with BLKIF_OP_INDIRECT
  std::uint64_t notifies_sent = 0;        ///< batches for which an event was sent
  std::uint64_t notifies_suppressed = 0;  ///< batches for which none was requested
  std::uint64_t events = 0;               ///< received
  std::uint64_t spurious_events = 0;      ///< events without a response in the ring
  std::uint64_t ring_full = 0;            ///< sends that stopped because the ring was full
  std::uint64_t pages_short = 0;          ///< sends that stopped for lack of granted pages
  std::uint64_t flushes_merged = 0;       ///< flushes and FUA writes covered by another flush
  std::uint64_t read_modify_writes = 0;   ///< sectors written by read-modify-write
  std::uint64_t timed_out = 0;            ///< requests that timed out
  std::uint64_t answered_late = 0;    ///< ring requests answered after their request had timed out
  std::uint64_t flushes_ignored = 0;  ///< flushes and FUA writes completed without a backend flush
  std::uint64_t flushes_refused = 0;  ///< flushes that failed because a backend was lost
  std::uint64_t stalls = 0;           ///< how often options::stall_report was exceeded

  // Current values:
  std::size_t in_flight = 0;     ///< unanswered ring requests
  std::size_t queued = 0;        ///< requests waiting for ring entries or pages
  std::size_t pages = 0;         ///< pages granted for data
  std::size_t pages_used = 0;    ///< how many of `pages` are in use
  std::size_t pages_most = 0;    ///< the peak of `pages_used`
  std::size_t ring_entries = 0;  ///< the size of the ring
  bool stalled = false;          ///< the backend has not answered for options::stall_report

  /// Adds the counts and current values of another queue.
  void add(const queue_statistics& other) noexcept;
};

/// Lost backends and reconnects since the device was opened.
struct recovery_statistics {
  std::uint64_t reconnects = 0;  ///< connections after the first one
  std::uint64_t replayed = 0;    ///< requests resent because they were in flight to a lost backend
  /// The longest time from losing the backend until I/O resumed.
  std::chrono::nanoseconds longest_pause{};
  std::chrono::nanoseconds last_pause{};  ///< the same for the last lost backend
  std::string last_reason;  ///< such as "the backend closed the connection"; initially empty
  bool timed_out = false;   ///< the recovery timeout has expired, and requests now fail
};

}  // namespace xenpv::blkfront
