// What a frontend counts. Plain numbers of one queue, or summed over all; nothing here is atomic:
// snapshots are taken on the queue's thread.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "xenpv/base/histogram.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

struct operation_statistics {
  std::uint64_t requests = 0;  ///< answered
  std::uint64_t bytes = 0;     ///< of those that succeeded
  std::uint64_t errors = 0;
  histogram latency_ns;  ///< from the turn in which it was submitted to its answer
};

/// Counted since the device was opened.
struct queue_statistics {
  std::array<operation_statistics, blk::operation_count> operations;
  histogram segments;  ///< of each ring request that carries data
  histogram depth;     ///< ring requests in flight, each time some were published
  std::uint64_t ring_requests = 0;
  std::uint64_t indirect_requests = 0;
  std::uint64_t notifies_sent = 0;
  std::uint64_t notifies_suppressed = 0;  ///< batches the backend needed no event for
  std::uint64_t events = 0;
  std::uint64_t spurious_events = 0;     ///< events with nothing in the ring
  std::uint64_t ring_full = 0;           ///< turns that ended because the ring was full
  std::uint64_t pages_short = 0;         ///< turns that ended for lack of granted pages
  std::uint64_t flushes_merged = 0;      ///< flushes and FUA writes served by somebody else's flush
  std::uint64_t read_modify_writes = 0;  ///< sectors
  std::uint64_t timed_out = 0;           ///< requests
  std::uint64_t answered_late = 0;       ///< ring requests, after their request had timed out
  std::uint64_t flushes_ignored = 0;     ///< flushes and FUA writes answered without the backend
  std::uint64_t flushes_refused = 0;  ///< failed once, because a lost backend may have lost writes
  std::uint64_t stalls = 0;           ///< times that requests were unanswered for too long

  // Now, not counted:
  std::size_t in_flight = 0;   ///< ring requests without an answer
  std::size_t queued = 0;      ///< requests that wait for ring entries or pages
  std::size_t pages = 0;       ///< granted for data
  std::size_t pages_used = 0;  ///< of them, now
  std::size_t pages_most = 0;  ///< of them, ever at once
  std::size_t ring_entries = 0;
  bool stalled = false;  ///< the backend has not answered for options::stall_report

  void add(const queue_statistics& other) noexcept;
};

/// What became of lost backends since the device was opened.
struct recovery_statistics {
  std::uint64_t reconnects = 0;
  std::uint64_t replayed = 0;  ///< requests that a lost backend had and the next one got
  /// From the loss to the moment from which requests were sent again.
  std::chrono::nanoseconds longest_pause{};
  std::chrono::nanoseconds last_pause{};
  std::string last_reason;  ///< "the backend closed the connection"; empty: none was lost
  bool timed_out = false;   ///< now: the backend stays away, and requests fail
};

}  // namespace xenpv::blkfront
