// Options of a frontend. All have defaults: the backend's features are negotiated, not configured.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

namespace xenpv::blkfront {

struct options {
  /// Limit for a connect, hotplug scripts included.
  std::chrono::nanoseconds connect_deadline = std::chrono::seconds(30);
  /// A request fails with errc::timed_out after this long in the ring without a response. 0: no
  /// limit. The backend owns the bytes and pages of a timed-out request until it responds.
  std::chrono::nanoseconds request_deadline{};
  /// Requests unanswered for this long are reported as a stall (log, statistics); none fails.
  /// 0: never.
  std::chrono::nanoseconds stall_report = std::chrono::seconds(10);
  /// How long requests wait for a lost backend to return. Afterwards waiting and new requests fail
  /// with errc::timed_out until it returns. 0: no limit. Time during which the guest did not run
  /// does not count.
  std::chrono::nanoseconds recovery_timeout = std::chrono::minutes(5);
  /// How long close() waits for requests in flight, and for each response of the backend.
  std::chrono::nanoseconds close_deadline = std::chrono::seconds(10);

  /// Applies when a backend stops offering flush, at run time or after a reconnect. true: flushes
  /// and FUA writes fail with EOPNOTSUPP. false: they succeed without reaching the backend, after
  /// one warning, as in Linux' blkfront.
  bool strict_flush = false;
  /// After an unexpected loss of the backend, completed but unflushed writes may be lost with its
  /// cache; the next flush then fails once with EIO. true: assume that the backend kept them.
  bool trust_backend_cache = false;

  /// Pages to grant, for rings and data. Unset: half of the free pages of xen-gntalloc, less a
  /// reserve for other users.
  std::optional<std::size_t> pages;
  /// Upper bounds, for measurements. Unset: limited by the backend's offer and the granted pages.
  std::optional<unsigned> ring_page_order;
  std::optional<unsigned> queues;
  std::optional<unsigned> segments;
  bool persistent = true;  ///< offer persistent grants
};

}  // namespace xenpv::blkfront
