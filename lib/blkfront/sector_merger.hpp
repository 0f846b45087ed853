// Read-modify-write: tracks each partially written sector from the lock request to the unlock, and
// reserves pages for the merges.
//
// Owned by an engine and used on its thread; the engine sends the ring requests. Does no I/O:
// requests and releases locks through the engine_host. The write_gate decides which writes wait for
// a lock.
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
  /// The merge of one sector: lock, read, change, write, unlock.
  struct merge {
    blk::request* r;  ///< null: the request has completed; the sector stays unchanged
    stretch bytes;    ///< the bytes to change within the sector
    std::uint64_t sector;
    blk::page_chain page = {};
    stage state = stage::locking;
  };

  /// Reserves pages of `pool` for merges, so that merges do not wait for leased pages.
  sector_merger(std::shared_ptr<blk::page_pool> pool, engine_host& host);

  /// Requests the lock on the sector, which may be granted from within the call.
  void start(blk::request& r, const stretch& bytes, std::uint64_t sector);
  /// Call when the lock was granted. Returns false if there is nothing to send; the lock is then
  /// released.
  [[nodiscard]] bool locked(std::uint64_t sector) noexcept;

  /// Returns the next merge to send: a read of the sector or a write of the changed sector. Returns
  /// null if there is none or the read does not have a page yet. Returns the same merge until
  /// sent() is called.
  [[nodiscard]] merge* next() noexcept;
  void sent(merge& m) noexcept;
  /// Changes the sector that was read into the merge's page and schedules the write as the next to
  /// send. Returns false if the request has completed in the meantime; the merge must then end.
  [[nodiscard]] bool change(merge& m) noexcept;
  /// Releases the page and the lock. Returns the request that waits for the merge, if any.
  blk::request* end(merge& m) noexcept;

  /// Call when `r` completes before its merges. Merges whose write was not sent leave the sector
  /// unchanged.
  void forget(const blk::request& r) noexcept;
  /// Releases granted locks, except for sectors that are being written. The pages of such sectors
  /// stay with the backend.
  void fail() noexcept;
  /// Forgets everything without releasing locks.
  void clear() noexcept;

  template <class Function>
  void for_each(Function function) const {
    for (const auto& m : merges_)
      function(m);
  }

 private:
  void drop_ended() noexcept;

  std::shared_ptr<blk::page_pool> pool_;
  engine_host& host_;
  std::list<merge> merges_;
  std::deque<merge*> ready_;  ///< merges that have their lock and wait for a ring entry
  blk::page_chain pages_;
};

}  // namespace xenpv::blkfront
