// The requests of one queue that wait for a backend, in order of submission: requests that a lost
// backend left unanswered, and requests submitted since then. Requests stay in their callers'
// memory, which is bounded by the number of requests in flight.
//
// Used on the queue's thread. Does no I/O: the owner sends the requests when a backend is
// connected.
//
// Requests in flight are not ordered, but the lost backend may have processed a request, and a
// caller may have read the written data. Therefore
//  - requests to overlapping bytes are sent in order of submission if one of them changes data,
//    each after the previous one has completed;
//  - a flush is sent after all earlier changes have completed;
//  - all others are sent immediately.
// Requests added while others wait follow the same rules, so that they do not overtake the waiting
// requests. The journals of two queues are independent: writes in flight on both queues may be
// applied in either order, as on any disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "blkfront/planner.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

class journal {
 public:
  /// Marks requests that this journal has sent (request::device_part::flags).
  static constexpr std::uint8_t mark = 1;
  /// Identifies an entry, even after its removal; never reused.
  using ticket = std::uint64_t;

  /// Appends `r`. `since` is the time of its first submission, in ns. Returns true if `r` has to
  /// wait for other requests.
  bool add(blk::request& r, std::uint64_t since);
  /// Call when completed writes were lost: all queued flushes must fail (engine::in_doubt).
  void doubt_flushes() noexcept;
  /// Marks `r` for resending because the backend is lost.
  void unsend(const blk::request& r) noexcept;
  /// Moves queued data out of pages that the queue is about to release.
  void leave_pages() noexcept;

  /// Calls `send(blk::request&, ticket, bool in_doubt)` for each request that may be sent now. The
  /// request may complete within the call.
  template <class Function>
  void send_ready(Function send) {
    for (const auto id : take_ready()) {
      const auto it = by_ticket_.find(id);
      if (it != by_ticket_.end()) send(*it->second->r, id, it->second->in_doubt);
    }
  }
  /// Removes a sent request that is about to complete. The request's latency counts from its first
  /// submission.
  void answered(blk::request& r) noexcept;
  /// Completes all requests with `status`. Includes requests already sent, which must not be used
  /// afterwards.
  void answer_all(std::error_code status) noexcept;

  [[nodiscard]] bool contains(ticket id) const { return by_ticket_.contains(id); }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct entry {
    blk::request* r;
    ticket number;
    std::uint64_t since;
    stretch bytes;  ///< empty for a flush
    bool changes;   ///< a write or discard
    bool flushes;
    bool sent = false;
    bool in_doubt = false;
    std::size_t before;  ///< number of earlier entries for which this entry waits
  };
  using entry_list = std::list<entry>;

  [[nodiscard]] static bool must_wait(const entry& later, const entry& earlier) noexcept;
  [[nodiscard]] std::vector<ticket> take_ready();

  entry_list entries_;
  std::unordered_map<ticket, entry_list::iterator> by_ticket_;
  std::unordered_map<const blk::request*, entry_list::iterator> by_request_;
  ticket last_ = 0;
};

}  // namespace xenpv::blkfront
