#include "blkfront/sector_guard.hpp"

namespace xenpv::blkfront {

void sector_guard::lock(std::size_t queue, std::uint64_t sector) {
  const auto [at, is_new] = locks_.try_emplace(sector, lock_state{queues_, {}});
  at->second.queue.push_back(queue);
  if (!is_new) return;
  // Answers may come from within these calls, and the last one may even end the lock.
  for (std::size_t i = 0; i < queues_; ++i)
    peer_.hold(i, sector);
}

void sector_guard::held(std::uint64_t sector) {
  const auto found = locks_.find(sector);
  if (found == locks_.end() || found->second.to_hold == 0) return;
  if (--found->second.to_hold == 0) peer_.locked(found->second.queue.front(), sector);
}

void sector_guard::unlock(std::uint64_t sector) {
  const auto found = locks_.find(sector);
  if (found == locks_.end()) return;
  auto& waiting = found->second.queue;
  waiting.pop_front();
  if (!waiting.empty()) {
    peer_.locked(waiting.front(), sector);
    return;
  }
  locks_.erase(found);
  // Our own queue last: from within its call the sector may be locked anew, and the others must
  // not hear of that before they hear of this.
  for (auto i = queues_; i-- > 0;)
    peer_.release(i, sector);
}

}  // namespace xenpv::blkfront
