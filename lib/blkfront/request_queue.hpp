// One queue's requests over any number of connections: an engine while a backend is connected, a
// journal while none is and until what a lost one left unanswered is answered.
//
// Pure: owned by a frontend_queue, on its thread, which makes transports, sends events and answers
// what is refused. Decides nothing about a device as a whole.
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
  connected,   ///< requests go to the backend, behind those that are replayed
  suspended,   ///< the backend was lost; requests wait for the next one
  expired,     ///< as suspended, but requests are refused: it stays away too long
  forwarding,  ///< requests wait for another queue to send them: this one has no ring
  draining,    ///< requests are refused; those taken before are still carried out
  failed,      ///< requests are refused for good
};

class request_queue {
 public:
  /// What became of a request that was submitted.
  enum class fate { sent_soon, waits, refused };

  /// `ledger`: of the device; may be null. `index`: of this queue in it.
  request_queue(std::shared_ptr<flush_ledger> ledger, std::size_t index, error refusal)
      : ledger_(std::move(ledger)), index_(index), refusal_(std::move(refusal)) {}

  [[nodiscard]] queue_state state() const noexcept { return state_; }
  /// Null without a connection. It stays after fail(), until close(): pages of its unanswered ring
  /// requests are still the backend's.
  [[nodiscard]] engine* ring() noexcept { return engine_.get(); }
  [[nodiscard]] const engine* ring() const noexcept { return engine_.get(); }
  /// With what refused requests are answered.
  [[nodiscard]] const error& refusal() const noexcept { return refusal_; }
  /// No request is unanswered, and the backend has answered all ring requests.
  [[nodiscard]] bool is_idle() const noexcept {
    return journal_.empty() && (!engine_ || engine_->is_idle());
  }
  /// submit() does not need the time.
  [[nodiscard]] bool sends_at_once() const noexcept {
    return state_ == queue_state::connected && journal_.empty();
  }

  /// Takes `r`, unless it is refused: then r.status is set and the caller answers it. `now`: ns,
  /// for requests that wait; see sends_at_once().
  [[nodiscard]] fate submit(blk::request& r, std::uint64_t now);
  /// Engine::send(), with what the journal allows.
  [[nodiscard]] bool send(std::uint64_t now) noexcept;
  /// Calls `send(blk::request&, ticket)` for each request that waits and may go through another
  /// queue now.
  template <class Function>
  void send_forwarded(Function send) {
    journal_.send_ready([&](blk::request& r, journal::ticket which, bool in_doubt) {
      if (in_doubt)
        fail_doubtful(r);
      else
        send(r, which);
    });
  }
  /// Over all connections.
  [[nodiscard]] queue_statistics statistics() const;
  /// Flushes that failed here, in place of being forwarded, because answered writes were lost.
  [[nodiscard]] std::uint64_t refused_flushes() const noexcept { return refused_flushes_; }
  /// engine_host::marked_answered(), and the same for forwarded requests.
  void answered(blk::request& r) noexcept { journal_.answered(r); }
  [[nodiscard]] bool waits(journal::ticket which) const { return journal_.contains(which); }

  /// The backend has the ring.
  void connect(engine_setup setup, engine_host& host);
  /// In place of connect(), for a queue that gets no ring.
  void forward() noexcept;
  /// The backend is lost. With `look`, takes the answers that it left in the ring first; a ring
  /// from before a resume must be left alone. Afterwards the engine is gone. Returns how many
  /// requests the backend had. Does nothing once failed.
  std::size_t suspend(bool look, bool lost_cache, std::uint64_t now);
  /// Moves queued data out of the old connection's pages: call when requests cannot get new ones
  /// there any more.
  void leave_pages() noexcept { journal_.leave_pages(); }
  /// While suspended: answers what waits with `why`, and refuses requests until connect().
  void expire(error why);
  /// Refuses requests with `why` from now on; what was taken before is carried out if there is a
  /// backend for it.
  void shut(error why);
  /// Answers everything with `why`, now and from now on.
  void fail(error why);
  /// The grants are gone: ends the engine. Every request was answered.
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
  queue_statistics past_;  ///< of the engines before
};

}  // namespace xenpv::blkfront
