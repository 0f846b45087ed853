// Options of a frontend. All have defaults. Backend features are negotiated, not configured.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

namespace xenpv::blkfront {

struct options {
  /// Time limit for connecting, including hotplug scripts.
  std::chrono::nanoseconds connect_deadline = std::chrono::seconds(30);
  /// A request fails with errc::timed_out if it stays in the ring for this long without a response.
  /// 0: no limit. The backend owns the byte range and the pages of a timed-out request until it
  /// responds.
  std::chrono::nanoseconds request_deadline{};
  /// Requests that stay unanswered for this long are reported as a stall in the log and in the
  /// statistics, but do not fail. 0: no report.
  std::chrono::nanoseconds stall_report = std::chrono::seconds(10);
  /// How long requests wait for a lost backend to return. After this time, waiting and new requests
  /// fail with errc::timed_out until the backend returns. 0: no limit. Excludes time during which
  /// the guest did not run.
  std::chrono::nanoseconds recovery_timeout = std::chrono::minutes(5);
  /// Time limit of close() for requests in flight and for each of the backend's steps in the
  /// closing handshake.
  std::chrono::nanoseconds close_deadline = std::chrono::seconds(10);

  /// Applies when a backend stops offering flush, at run time or after a reconnect. true: flushes
  /// and FUA writes fail with EOPNOTSUPP. false: they succeed without reaching the backend, after
  /// one warning, as in Linux blkfront.
  bool strict_flush = false;
  /// If the backend is lost unexpectedly, completed but unflushed writes may be lost with its
  /// cache, and the next flush fails once with EIO. true: assume that the backend kept these
  /// writes.
  bool trust_backend_cache = false;

  /// Number of pages to grant for rings and data. Unset: half of xen-gntalloc's free pages, minus a
  /// reserve for other users.
  std::optional<std::size_t> pages;
  /// Upper bounds, for measurements. Unset: limited only by the backend and the granted pages.
  /// @{
  std::optional<unsigned> ring_page_order;
  std::optional<unsigned> queues;
  std::optional<unsigned> segments;
  /// @}
  bool persistent = true;  ///< offer persistent grants
};

}  // namespace xenpv::blkfront
