// The requests of one queue that wait for a backend: those that the last one left unanswered, and
// those submitted since. Keeps them where their callers have them, so what it costs is the callers'
// memory, and what bounds it is what they are willing to have in flight.
//
// On its queue's thread. Knows no backend: its owner says when there is one, and sends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <unordered_map>

#include "blkfront/replay_order.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

class journal {
 public:
  /// Marks requests that were sent from here (request::device_part::flags).
  static constexpr std::uint8_t mark = 1;

  /// Takes `r`, behind all others. `since`: when it was first submitted, ns.
  void hold(blk::request& r, std::uint64_t since);
  /// It was sent from here, to a backend that is lost, too.
  void unsend(const blk::request& r);
  /// Moves held data out of the pages that the queue is about to give up.
  void leave_pages() noexcept;

  /// Calls `send(blk::request&, ticket)` for each request that may go now. It may answer at once.
  template <class Function>
  void send_ready(Function send) {
    for (const auto ticket : order_.take_ready()) {
      const auto found = requests_.find(ticket);
      if (found == requests_.end()) continue;
      send(*found->second.r, ticket);
    }
  }
  /// One that was sent is about to be answered: its latency counts from its first submission.
  void answered(blk::request& r) noexcept;
  /// Answers all that it holds with `status`, those that are sent included: whoever has those must
  /// not touch them any more.
  void answer_all(std::error_code status) noexcept;

  /// Not answered by answer_all() meanwhile.
  [[nodiscard]] bool holds(replay_order::ticket ticket) const { return order_.contains(ticket); }
  [[nodiscard]] bool empty() const noexcept { return order_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return order_.size(); }

 private:
  struct held {
    blk::request* r;
    std::uint64_t since;
  };
  replay_order order_;
  std::unordered_map<replay_order::ticket, held> requests_;
  std::unordered_map<const blk::request*, replay_order::ticket> tickets_;
};

}  // namespace xenpv::blkfront
