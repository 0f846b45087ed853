// The requests of one queue that wait for a backend: those that a lost one left unanswered, and
// those submitted since, as one list in the order in which they came. Requests stay in their
// callers' memory: the number in flight is what bounds it.
//
// On its queue's thread. Pure; knows no backend: its owner says when there is one, and sends.
//
// Requests in flight have no order among each other, but the lost backend may have carried a
// request out, and a caller may have read what it wrote. So
//  - requests that touch the same bytes, one of which changes them, are sent in the order they came
//    in, each when the one before is answered;
//  - a flush is sent when every earlier change is answered;
//  - all others are sent at once.
// Requests added while others wait follow the same rules, so that none overtakes. There is no order
// between the journals of two queues: writes that were in flight on both may be applied in either
// order, as on any disk.
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
  /// Marks requests that were sent from here (request::device_part::flags).
  static constexpr std::uint8_t mark = 1;
  /// Names an entry, also after it is gone; never used twice.
  using ticket = std::uint64_t;

  /// Takes `r`, behind all others. `since`: when it was first submitted, ns. True: it has to wait
  /// for others.
  bool add(blk::request& r, std::uint64_t since);
  /// Answered writes were lost: flushes that are queued now must fail (engine::in_doubt).
  void doubt_flushes() noexcept;
  /// The backend that it was sent to is lost: it is to be sent again.
  void unsend(const blk::request& r) noexcept;
  /// Moves queued data out of pages that the queue is about to give up.
  void leave_pages() noexcept;

  /// Calls `send(blk::request&, ticket, bool in_doubt)` for each request that may go now. It may
  /// answer at once.
  template <class Function>
  void send_ready(Function send) {
    for (const auto which : take_ready()) {
      const auto found = by_ticket_.find(which);
      if (found != by_ticket_.end()) send(*found->second->r, which, found->second->in_doubt);
    }
  }
  /// A request that was sent is about to be answered: its latency counts from its first submission.
  void answered(blk::request& r) noexcept;
  /// Answers all with `status`, those that were sent included: these must not be touched any more.
  void answer_all(std::error_code status) noexcept;

  [[nodiscard]] bool contains(ticket which) const { return by_ticket_.contains(which); }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct entry {
    blk::request* r;
    ticket number;
    std::uint64_t since;
    stretch bytes;  ///< that it touches; empty for a flush
    bool changes;   ///< what is stored: a write, a discard
    bool flushes;
    bool sent = false;
    bool in_doubt = false;
    std::size_t before;  ///< earlier entries that it waits for
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
