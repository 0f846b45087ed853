// Messages between the queues of one device: the sector locks of sector_guard, and fences, which
// block writes to the byte range of a timed-out write. One object per connection, shared by its
// queues. The guard is accessed only on queue 0's thread. A queue ignores messages that arrive
// after its connection has ended.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "blkfront/planner.hpp"
#include "blkfront/sector_guard.hpp"

namespace xenpv::blkfront {

class engine;
class frontend_queue;

class sector_locks final : private sector_guard::peer,
                           public std::enable_shared_from_this<sector_locks> {
 public:
  explicit sector_locks(std::size_t queues) : guard_(queues, *this) {}
  /// Adds the queues in index order, before any request.
  void add(const std::shared_ptr<frontend_queue>& queue) { queues_.push_back(queue); }
  /// Call when a queue has its ring. Locks are granted only once all queues have a ring, because a
  /// queue without a ring does not honour locks.
  void join();
  void lock(std::size_t queue, std::uint64_t sector);
  void unlock(std::uint64_t sector);
  void held(std::uint64_t sector);
  /// Raises the fence on all other queues, then calls engine::fence_raised() on `queue`.
  void raise_fences(std::size_t queue, std::uint64_t id, const stretch& bytes);
  void lower_fences(std::size_t queue, std::uint64_t id);

 private:
  void hold(std::size_t queue, std::uint64_t sector) override;
  void release(std::size_t queue, std::uint64_t sector) override;
  void locked(std::size_t queue, std::uint64_t sector) override;

  template <class Function>
  void run_on_queue(std::size_t index, Function function);
  [[nodiscard]] engine* ring_if_current(frontend_queue& queue) const noexcept;

  sector_guard guard_;
  std::size_t joined_ = 0;  ///< used on queue 0's thread
  std::vector<std::pair<std::size_t, std::uint64_t>>
      waiting_;  ///< lock requests made before all queues joined
  std::vector<std::weak_ptr<frontend_queue>> queues_;
};

}  // namespace xenpv::blkfront
