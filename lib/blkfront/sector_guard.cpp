#include "blkfront/sector_guard.hpp"

namespace xenpv::blkfront {

void sector_guard::lock(std::size_t queue, std::uint64_t sector) {
  const auto [entry, is_new] = locks_.try_emplace(sector, lock_state{queues_, {}});
  entry->second.queue.push_back(queue);
  if (!is_new) return;
  // Peers may reply from within these calls, and the last reply may even end the lock.
  for (std::size_t i = 0; i < queues_; ++i)
    peer_.hold(i, sector);
}

void sector_guard::held(std::uint64_t sector) {
  const auto entry = locks_.find(sector);
  if (entry == locks_.end() || entry->second.to_hold == 0) return;
  if (--entry->second.to_hold == 0) peer_.locked(entry->second.queue.front(), sector);
}

void sector_guard::unlock(std::uint64_t sector) {
  const auto entry = locks_.find(sector);
  if (entry == locks_.end()) return;
  auto& waiting = entry->second.queue;
  waiting.pop_front();
  if (!waiting.empty()) {
    peer_.locked(waiting.front(), sector);
    return;
  }
  locks_.erase(entry);
  // Release queue 0 last: that call may lock the sector again, and the other queues must receive
  // this release before the new write lock.
  for (auto i = queues_; i-- > 0;)
    peer_.release(i, sector);
}

}  // namespace xenpv::blkfront
