// Who may merge bytes into which sector, over all queues of a device: without it, one queue could
// write back what it read before another queue's write was answered. Pure; lives with queue 0 and
// talks to all queues through its peer, in any order and at any delay.
//
// A lock is granted once every queue holds the sector, that is, has no write to it in flight and
// starts none. Locks of one sector are granted in the order they were asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>

namespace xenpv::blkfront {

class sector_guard {
 public:
  class peer {
   public:
    virtual void hold(std::size_t queue, std::uint64_t sector) = 0;
    virtual void release(std::size_t queue, std::uint64_t sector) = 0;
    virtual void locked(std::size_t queue, std::uint64_t sector) = 0;

   protected:
    ~peer() = default;
  };

  sector_guard(std::size_t queues, peer& to) noexcept : queues_(queues), peer_(to) {}

  /// `queue` wants the sector; peer::locked() is the answer.
  void lock(std::size_t queue, std::uint64_t sector);
  /// A queue's answer to peer::hold().
  void held(std::uint64_t sector);
  /// The owner is done. The next one gets the sector without the queues letting go in between.
  void unlock(std::uint64_t sector);

  [[nodiscard]] bool is_idle() const noexcept { return locks_.empty(); }

 private:
  struct lock_state {
    std::size_t to_hold;            ///< queues that have not answered yet
    std::deque<std::size_t> queue;  ///< the owner, or owner to be, first
  };

  std::size_t queues_;
  peer& peer_;
  std::map<std::uint64_t, lock_state> locks_;
};

}  // namespace xenpv::blkfront
