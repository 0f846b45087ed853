// Read-modify-write: the sectors of which a write changes only a part, each from asking for its
// lock to giving it back, and the pages kept for them.
//
// Owned by an engine, on its thread, which sends the ring requests. Pure: locks are asked for and
// given back through the engine_host; which writes have to wait for a lock is the write_gate's.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>

#include "blkfront/planner.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

class engine_host;

class sector_merger {
 public:
  enum class stage : std::uint8_t { locking, to_read, reading, to_write, writing };
  /// One sector: locked, read, changed, written, unlocked.
  struct merge {
    blk::request* r;  ///< null: the request was answered; the sector stays as it is
    stretch bytes;    ///< what changes, within the sector
    std::uint64_t sector;
    blk::page_chain page = {};
    stage at = stage::locking;
  };

  /// Takes pages of `pool` for merges, so that none waits for pages that others have on lease.
  sector_merger(std::shared_ptr<blk::page_pool> pool, engine_host& host);

  /// Asks for the lock of the sector; it may be granted from within the call.
  void start(blk::request& r, const stretch& bytes, std::uint64_t sector);
  /// The lock was granted. False: nothing to send; the lock is given back.
  [[nodiscard]] bool locked(std::uint64_t sector) noexcept;

  /// The next merge to send: a read of its sector, or the changed sector. Null: none, or a read has
  /// no page yet. Stays first until sent() is called.
  [[nodiscard]] merge* next() noexcept;
  void sent(merge& m) noexcept;
  /// The sector was read into the merge's page: changes it; it is the next to be sent. False: its
  /// request was answered meanwhile, and the merge has to end.
  [[nodiscard]] bool change(merge& m) noexcept;
  /// Gives page and lock back. Returns the request that waits for it, if any.
  blk::request* end(merge& m) noexcept;

  /// `r` is answered before its merges are done: those that were not sent back yet change nothing.
  void forget(const blk::request& r) noexcept;
  /// Gives granted locks back, but for sectors that are being written; pages stay with the backend.
  void fail() noexcept;
  /// Forgets everything, without giving locks back.
  void clear() noexcept;

  template <class Function>
  void for_each(Function function) const {
    for (const auto& each : merges_)
      function(each);
  }

 private:
  void drop_ended() noexcept;

  std::shared_ptr<blk::page_pool> pool_;
  engine_host& host_;
  std::list<merge> merges_;
  std::deque<merge*> ready_;  ///< have their lock, need a ring entry
  blk::page_chain pages_;
};

}  // namespace xenpv::blkfront
