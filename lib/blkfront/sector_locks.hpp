// Locks of sectors between the queues of one device: the sector_guard, and the messages to and from
// each queue's thread. Shared by the queues; the guard itself is touched on queue 0's thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "blkfront/sector_guard.hpp"

namespace xenpv::blkfront {

class frontend_queue;

class sector_locks final : private sector_guard::peer,
                           public std::enable_shared_from_this<sector_locks> {
 public:
  explicit sector_locks(std::size_t queues) : guard_(queues, *this) {}
  /// Before any request: queues in their order.
  void add(const std::shared_ptr<frontend_queue>& member) { members_.push_back(member); }
  void lock(std::size_t queue, std::uint64_t sector);
  void unlock(std::uint64_t sector);
  void held(std::uint64_t sector);

 private:
  void hold(std::size_t queue, std::uint64_t sector) override;
  void release(std::size_t queue, std::uint64_t sector) override;
  void locked(std::size_t queue, std::uint64_t sector) override;

  template <class Function>
  void on_queue(std::size_t index, Function function);

  sector_guard guard_;
  std::vector<std::weak_ptr<frontend_queue>> members_;
};

}  // namespace xenpv::blkfront
