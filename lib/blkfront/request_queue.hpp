// One queue's requests across connections: an engine while a backend is connected, and a journal
// for requests that wait for a backend or that a lost backend left unanswered.
//
// Does no I/O. Owned by a frontend_queue and used on its thread; the frontend_queue creates
// transports, sends events and completes refused requests. Does not make decisions for the whole
// device.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "blkfront/engine.hpp"
#include "blkfront/journal.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {

enum class queue_state {
  closed,      ///< no backend; requests are refused
  connected,   ///< requests go to the backend, after any replayed ones
  suspended,   ///< the backend was lost; requests wait for the next one
  expired,     ///< like suspended, but requests are refused: the recovery timeout has expired
  forwarding,  ///< the queue lacks a ring; another queue sends its requests
  draining,    ///< new requests are refused; earlier ones are still processed
  failed,      ///< requests are refused permanently
};

class request_queue {
 public:
  /// The result of submit().
  enum class fate { sent_soon, waits, refused };

  /// `ledger` is the device's ledger and may be null. `index` is this queue's index in the ledger.
  request_queue(std::shared_ptr<flush_ledger> ledger, std::size_t index, error refusal)
      : ledger_(std::move(ledger)), index_(index), refusal_(std::move(refusal)) {}

  [[nodiscard]] queue_state state() const noexcept { return state_; }
  /// Null without a connection. Remains set after fail() until close(), because the backend still
  /// owns the pages of unanswered ring requests.
  [[nodiscard]] engine* ring() noexcept { return engine_.get(); }
  [[nodiscard]] const engine* ring() const noexcept { return engine_.get(); }
  /// The error with which requests are refused.
  [[nodiscard]] const error& refusal() const noexcept { return refusal_; }
  /// Whether all requests have completed and the backend has responded to all ring requests.
  [[nodiscard]] bool is_idle() const noexcept {
    return journal_.empty() && (!engine_ || engine_->is_idle());
  }
  /// If true, submit() ignores `now`.
  [[nodiscard]] bool sends_at_once() const noexcept {
    return state_ == queue_state::connected && journal_.empty();
  }

  /// Takes ownership of `r`, unless the result is `refused`: r.status is then set and the caller
  /// must complete `r`. `now` is in ns and is used for requests that wait; see sends_at_once().
  [[nodiscard]] fate submit(blk::request& r, std::uint64_t now);
  /// Submits the journal's requests that may be sent now, and calls engine::send().
  [[nodiscard]] bool send(std::uint64_t now) noexcept;
  /// Calls `send(blk::request&, ticket)` for each waiting request that may now go through another
  /// queue.
  template <class Function>
  void send_forwarded(Function send) {
    journal_.send_ready([&](blk::request& r, journal::ticket ticket, bool in_doubt) {
      if (in_doubt)
        fail_doubtful(r);
      else
        send(r, ticket);
    });
  }
  /// The statistics for all connections.
  [[nodiscard]] queue_statistics statistics() const;
  /// Number of flushes that failed instead of being forwarded because completed writes were lost.
  [[nodiscard]] std::uint64_t refused_flushes() const noexcept { return refused_flushes_; }
  /// Implements engine_host::marked_answered(); also for forwarded requests.
  void answered(blk::request& r) noexcept { journal_.answered(r); }
  [[nodiscard]] bool waits(journal::ticket ticket) const { return journal_.contains(ticket); }

  /// Call when the backend is connected.
  void connect(engine_setup setup, engine_host& host);
  /// Call instead of connect() for a queue without a ring.
  void forward() noexcept;
  /// Call when the backend is lost; ends the engine. `consume_responses`: first consume the
  /// responses left in the ring; must be false for a ring created before a resume. Returns the
  /// number of requests that the backend left unanswered. Does nothing after fail().
  std::size_t suspend(bool consume_responses, bool lost_cache, std::uint64_t now);
  /// Moves queued data out of the old connection's pages. Call when the pool no longer leases
  /// pages.
  void leave_pages() noexcept { journal_.leave_pages(); }
  /// While suspended: fails waiting requests with `reason` and refuses new ones until connect().
  void expire(error reason);
  /// Refuses new requests with `reason`; earlier ones are processed if there is a backend.
  void shut(error reason);
  /// Fails all current and future requests with `reason`.
  void fail(error reason);
  /// Ends the engine because its pages are no longer granted. All requests must have completed.
  void close() noexcept;

 private:
  void fail_doubtful(blk::request& r);
  void end_engine() noexcept;

  std::shared_ptr<flush_ledger> ledger_;
  std::size_t index_;
  queue_state state_ = queue_state::closed;
  error refusal_;
  std::unique_ptr<engine> engine_;
  journal journal_;
  std::uint64_t refused_flushes_ = 0;
  queue_statistics past_;  ///< statistics of previous engines
};

}  // namespace xenpv::blkfront
