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
  /// A request not answered after this long fails with errc::timed_out; 0: waits for ever.
  std::chrono::nanoseconds request_deadline = std::chrono::seconds(30);
  /// How long requests wait for a backend that was lost to come back; then they fail with
  /// errc::timed_out, and new ones at once, until it does come back. 0: they wait for ever. Time
  /// for which the guest did not run does not count.
  std::chrono::nanoseconds recovery_timeout = std::chrono::minutes(5);
  /// How long close() waits for requests in flight, and for each answer of the backend.
  std::chrono::nanoseconds close_deadline = std::chrono::seconds(10);
  /// Look at the ring that long before sleeping. Helps one request at a time on a host with idle
  /// CPUs, and hurts where the backend shares this one.
  std::chrono::nanoseconds poll_limit{};

  /// Pages to grant, for rings and data. Unset: half of xen-gntalloc's limit, less if that many are
  /// not free.
  std::optional<std::size_t> pages;
  /// Upper bounds, for measuring; unset: what the backend offers and the pages allow.
  std::optional<unsigned> ring_page_order;
  std::optional<unsigned> queues;
  std::optional<unsigned> segments;
  bool persistent = true;  ///< announce that grants are kept
};

}  // namespace xenpv::blkfront
