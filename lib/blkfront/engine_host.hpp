// What an engine is made of, and what it needs from outside: the memory and limits of one
// connection, and the engine_host, which schedules it and speaks for it to the other queues.
//
// Interfaces and values only; implemented by frontend_queue, and by tests.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "blkfront/flush_ledger.hpp"
#include "blkfront/planner.hpp"
#include "xenpv/blk/geometry.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"
#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::blkfront {

/// Pages of a pool and the references they are granted by, in page order.
struct granted_pool {
  std::shared_ptr<blk::page_pool> pages;
  std::vector<grant_ref> refs;
};

struct engine_setup {
  /// Initialised before the backend was told of it, unused since.
  ring::blkif_front_ring ring;
  granted_pool data;
  granted_pool indirect;  ///< may be empty: no indirect requests then
  blk::geometry shape;
  std::uint32_t unit = 512;  ///< bytes that the backend counts sectors in
  unsigned segments = 11;    ///< of the largest request
  bool flush_cache = false;
  bool barrier = false;
  bool only_queue = true;  ///< a barrier orders one ring
  std::uint16_t handle = 0;
  /// Flushes that the backend refuses fail, instead of being answered without it.
  bool strict_flush = false;
  std::shared_ptr<flush_ledger> ledger = {};  ///< of the device; null: losses are not tracked
  std::size_t queue = 0;                      ///< of this engine, in the ledger
};

class engine_host {
 public:
  /// There is something to send: call send() soon, not from here.
  virtual void schedule_send() = 0;
  /// This queue merges bytes into a sector: answer with engine::sector_locked(). Sectors are named
  /// by their first byte.
  virtual void lock_sector(std::uint64_t sector) = 0;
  virtual void unlock_sector(std::uint64_t sector) = 0;
  /// The answer to engine::hold_sector().
  virtual void sector_held(std::uint64_t sector) = 0;
  /// Asks for engine::raise_fence() on every other queue, and then for fence_raised(id) here. Not
  /// called for a device with one queue.
  virtual void raise_fences(std::uint64_t id, const stretch& bytes) = 0;
  virtual void lower_fences(std::uint64_t id) = 0;
  /// The backend refused a feature: shape() has changed.
  virtual void shape_changed() = 0;
  /// The backend refused flushes; from now on they are answered without it.
  virtual void flush_ignored() = 0;
  /// Flushes failed, because a backend that was lost may have lost answered writes.
  virtual void flush_failed_after_loss() = 0;
  /// False: the guest was suspended, perhaps moved to another host, and what the ring and its pages
  /// hold must not be used until somebody knows.
  [[nodiscard]] virtual bool may_take_answers() noexcept { return true; }
  /// A request with one of the engine::caller_marks is about to be answered.
  virtual void marked_answered(blk::request& r) { (void)r; }

 protected:
  ~engine_host() = default;
};

}  // namespace xenpv::blkfront
