// One queue's requests across connections: an engine while a backend is connected, and a journal
// for requests that wait for a backend or were left unanswered by a lost one.
//
// Pure. Owned by a frontend_queue, on its thread; the frontend_queue makes transports, sends events
// and completes refused requests. Makes no decisions about the device as a whole.
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
  connected,   ///< requests go to the backend, after those that are replayed
  suspended,   ///< the backend was lost; requests wait for the next one
  expired,     ///< as suspended, but requests are refused: the recovery timeout has passed
  forwarding,  ///< this queue has no ring; another queue sends its requests
  draining,    ///< new requests are refused; earlier ones are still carried out
  failed,      ///< requests are refused for good
};

class request_queue {
 public:
  /// The result of a submit().
  enum class fate { sent_soon, waits, refused };

  /// `ledger`: of the device; may be null. `index`: of this queue in the ledger.
  request_queue(std::shared_ptr<flush_ledger> ledger, std::size_t index, error refusal)
      : ledger_(std::move(ledger)), index_(index), refusal_(std::move(refusal)) {}

  [[nodiscard]] queue_state state() const noexcept { return state_; }
  /// Null without a connection. Remains after fail() until close(), because the backend still owns
  /// the pages of unanswered ring requests.
  [[nodiscard]] engine* ring() noexcept { return engine_.get(); }
  [[nodiscard]] const engine* ring() const noexcept { return engine_.get(); }
  /// The error of refused requests.
  [[nodiscard]] const error& refusal() const noexcept { return refusal_; }
  /// No request is unanswered, and the backend has answered all ring requests.
  [[nodiscard]] bool is_idle() const noexcept {
    return journal_.empty() && (!engine_ || engine_->is_idle());
  }
  /// True: submit() ignores `now`.
  [[nodiscard]] bool sends_at_once() const noexcept {
    return state_ == queue_state::connected && journal_.empty();
  }

  /// Takes `r`, unless it is refused: then r.status is set and the caller completes it. `now`: ns,
  /// for requests that wait; see sends_at_once().
  [[nodiscard]] fate submit(blk::request& r, std::uint64_t now);
  /// Submits the ready requests of the journal and calls engine::send().
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
  /// Over all connections.
  [[nodiscard]] queue_statistics statistics() const;
  /// Flushes that failed instead of being forwarded, because completed writes were lost.
  [[nodiscard]] std::uint64_t refused_flushes() const noexcept { return refused_flushes_; }
  /// engine_host::marked_answered(), also for forwarded requests.
  void answered(blk::request& r) noexcept { journal_.answered(r); }
  [[nodiscard]] bool waits(journal::ticket ticket) const { return journal_.contains(ticket); }

  /// The backend has the ring.
  void connect(engine_setup setup, engine_host& host);
  /// Instead of connect(), for a queue without a ring.
  void forward() noexcept;
  /// The backend is lost; ends the engine. `take_answers`: take the responses left in the ring
  /// first; must be false for a ring from before a resume. Returns the number of requests that the
  /// backend had. Does nothing once failed.
  std::size_t suspend(bool take_answers, bool lost_cache, std::uint64_t now);
  /// Moves queued data out of the old connection's pages. Call it when the pool no longer gives out
  /// pages.
  void leave_pages() noexcept { journal_.leave_pages(); }
  /// While suspended: fails waiting requests with `reason`, and refuses new ones until connect().
  void expire(error reason);
  /// Refuses new requests with `reason`; earlier ones are carried out if there is a backend.
  void shut(error reason);
  /// Fails all current and future requests with `reason`.
  void fail(error reason);
  /// The grants are gone: ends the engine. All requests must have been answered.
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
  queue_statistics past_;  ///< of previous engines
};

}  // namespace xenpv::blkfront
