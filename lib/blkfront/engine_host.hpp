// The inputs of an engine: the memory and limits of one connection, and the engine_host interface,
// which schedules the engine and exchanges messages with the other queues.
//
// Implemented by frontend_queue and by tests.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "blkfront/flush_ledger.hpp"
#include "blkfront/planner.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"
#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::blkfront {

/// The pages of a pool and their grant references, in page order.
struct granted_pool {
  std::shared_ptr<blk::page_pool> pages;
  std::vector<grant_ref> refs;
};

struct engine_setup {
  /// Initialised before it was published and unused since then.
  ring::blkif_front_ring ring;
  granted_pool data;
  granted_pool indirect;  ///< empty: indirect requests are not used
  blk::geometry shape;
  std::uint32_t unit = 512;  ///< the backend's sector unit in bytes
  unsigned segments = 11;    ///< maximum number of segments per request
  bool flush_cache = false;
  bool barrier = false;
  bool only_queue = true;  ///< the device has one queue; a barrier orders only its own ring
  std::uint16_t handle = 0;
  /// true: flushes that the backend refuses fail. false: they succeed without reaching the backend.
  bool strict_flush = false;
  std::shared_ptr<flush_ledger> ledger = {};  ///< of the device; null: lost writes are not tracked
  std::size_t queue = 0;                      ///< index of this queue in the ledger
};

class engine_host {
 public:
  /// The engine has requests to send: call send() soon, but not from within this call.
  virtual void schedule_send() = 0;
  /// Requests the device-wide lock on a sector for read-modify-write; engine::sector_locked()
  /// grants it. A sector is identified by the offset of its first byte.
  virtual void lock_sector(std::uint64_t sector) = 0;
  virtual void unlock_sector(std::uint64_t sector) = 0;
  /// The reply to engine::hold_sector().
  virtual void sector_held(std::uint64_t sector) = 0;
  /// Requests engine::raise_fence() on every other queue, and then fence_raised(id) here. Not
  /// called for a device with one queue.
  virtual void raise_fences(std::uint64_t id, const stretch& bytes) = 0;
  virtual void lower_fences(std::uint64_t id) = 0;
  /// The backend refused a feature: shape() has changed.
  virtual void shape_changed() = 0;
  /// The backend refused a flush; flushes now succeed without reaching the backend.
  virtual void flush_ignored() = 0;
  /// Flushes failed because completed writes may have been lost with a backend.
  virtual void flush_failed_after_loss() = 0;
  /// Returns false if the guest was suspended and may have moved to another host. The contents of
  /// the ring and its pages must not be used until the suspend is resolved.
  [[nodiscard]] virtual bool may_consume_responses() noexcept { return true; }
  /// Called before a request with any of the engine::caller_marks completes.
  virtual void marked_answered(blk::request& r) { (void)r; }

 protected:
  ~engine_host() = default;
};

}  // namespace xenpv::blkfront
