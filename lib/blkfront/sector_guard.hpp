// Device-wide sector locks for read-modify-write. Without them, one queue could write back stale
// data that it read before another queue's write completed. Does no I/O. Runs on queue 0's thread
// and exchanges messages with all queues through its peer, in any order and with any delay.
//
// A sector lock is granted once every queue has write-locked the sector, that is, has completed its
// writes to the sector and does not start new ones. Locks on a sector are granted in request order.
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

  sector_guard(std::size_t queues, peer& queue_peer) noexcept
      : queues_(queues), peer_(queue_peer) {}

  /// Requests the lock for `queue`; peer::locked() grants it.
  void lock(std::size_t queue, std::uint64_t sector);
  /// A queue's reply to peer::hold().
  void held(std::uint64_t sector);
  /// Ends the owner's lock. If another queue waits, that queue gets the lock immediately, and the
  /// sector stays write-locked on all queues.
  void unlock(std::uint64_t sector);

  [[nodiscard]] bool is_idle() const noexcept { return locks_.empty(); }

 private:
  struct lock_state {
    std::size_t to_hold;            ///< queues that have not replied yet
    std::deque<std::size_t> queue;  ///< the current or next owner first
  };

  std::size_t queues_;
  peer& peer_;
  std::map<std::uint64_t, lock_state> locks_;
};

}  // namespace xenpv::blkfront
