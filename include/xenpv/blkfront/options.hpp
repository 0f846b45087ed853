// How to open a frontend. All of it has defaults: what the backend can do is found out, not
// configured.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

namespace xenpv::blkfront {

struct options {
  /// How long a connect may take, hotplug scripts included.
  std::chrono::nanoseconds connect_deadline = std::chrono::seconds(30);
  /// A request that has been in the ring for this long without an answer fails with
  /// errc::timed_out; 0: requests wait for as long as the backend needs. Bytes and pages of a
  /// request that timed out stay the backend's until it answers.
  std::chrono::nanoseconds request_deadline{};
  /// Requests unanswered for this long are reported as a stall (log, statistics); none fails.
  /// 0: never.
  std::chrono::nanoseconds stall_report = std::chrono::seconds(10);
  /// How long requests wait for a backend that was lost to come back; then they fail with
  /// errc::timed_out, and new ones at once, until it does come back. 0: they wait for ever. Time
  /// for which the guest did not run does not count.
  std::chrono::nanoseconds recovery_timeout = std::chrono::minutes(5);
  /// How long close() waits for requests in flight, and for each answer of the backend.
  std::chrono::nanoseconds close_deadline = std::chrono::seconds(10);

  /// A backend that was connected with flush and stops offering it, at run time or after a
  /// reconnect: true: flushes and FUA writes fail with EOPNOTSUPP; false: one warning, then they
  /// succeed without reaching the backend, as in Linux' blkfront.
  bool strict_flush = false;
  /// After an unexpected loss of the backend, writes that were answered but not flushed may be gone
  /// with its cache; the next flush then fails once with EIO. true: trust the backend to have kept
  /// them.
  bool trust_backend_cache = false;

  /// Pages to grant, for rings and data. Unset: half of the pages that xen-gntalloc has free, less
  /// a reserve for other users.
  std::optional<std::size_t> pages;
  /// Upper bounds, for measuring; unset: what the backend offers and the pages allow.
  std::optional<unsigned> ring_page_order;
  std::optional<unsigned> queues;
  std::optional<unsigned> segments;
  bool persistent = true;  ///< announce that grants are kept
};

}  // namespace xenpv::blkfront
