// What the queues of one device tell each other about sectors: the locks of the sector_guard, and
// fences around writes that timed out. One for each connection, shared by its queues; the guard
// itself is touched on queue 0's thread only. Messages that reach a queue after its connection has
// ended are ignored.
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
  /// Before any request: queues in their order.
  void add(const std::shared_ptr<frontend_queue>& queue) { queues_.push_back(queue); }
  /// A queue got its ring. No lock is granted before all have: one without would not heed it.
  void join();
  void lock(std::size_t queue, std::uint64_t sector);
  void unlock(std::uint64_t sector);
  void held(std::uint64_t sector);
  /// Raises the fence on all other queues, then tells `queue` (engine::fence_raised()).
  void raise_fences(std::size_t queue, std::uint64_t id, const stretch& bytes);
  void lower_fences(std::size_t queue, std::uint64_t id);

 private:
  void hold(std::size_t queue, std::uint64_t sector) override;
  void release(std::size_t queue, std::uint64_t sector) override;
  void locked(std::size_t queue, std::uint64_t sector) override;

  template <class Function>
  void on_queue(std::size_t index, Function function);
  [[nodiscard]] engine* ring_of(frontend_queue& queue) const noexcept;

  sector_guard guard_;
  std::size_t joined_ = 0;                                      ///< on queue 0's thread
  std::vector<std::pair<std::size_t, std::uint64_t>> waiting_;  ///< locks, until all have joined
  std::vector<std::weak_ptr<frontend_queue>> queues_;
};

}  // namespace xenpv::blkfront
