// Each call runs on the target queue's thread, immediately if the caller is on that thread.
#include "blkfront/sector_locks.hpp"

#include <boost/asio/dispatch.hpp>

#include <atomic>
#include <utility>

#include "blkfront/frontend_queue.hpp"

namespace xenpv::blkfront {

template <class Function>
void sector_locks::run_on_queue(std::size_t index, Function function) {
  const auto target = queues_[index].lock();
  if (!target) return;
  boost::asio::dispatch(target->context(),
                        [self = shared_from_this(), target,
                         function = std::move(function)]() mutable { function(*target); });
}

/// Returns the queue's engine, or null once the connection of these locks has ended.
engine* sector_locks::ring_if_current(frontend_queue& queue) const noexcept {
  return queue.locks() == this ? queue.ring() : nullptr;
}

void sector_locks::join() {
  run_on_queue(0, [this](auto&) {
    if (++joined_ < queues_.size()) return;
    for (const auto& [queue, sector] : std::exchange(waiting_, {}))
      guard_.lock(queue, sector);
  });
}

void sector_locks::lock(std::size_t queue, std::uint64_t sector) {
  run_on_queue(0, [this, queue, sector](auto&) {
    if (joined_ < queues_.size())
      waiting_.emplace_back(queue, sector);
    else
      guard_.lock(queue, sector);
  });
}

void sector_locks::unlock(std::uint64_t sector) {
  run_on_queue(0, [this, sector](auto&) { guard_.unlock(sector); });
}

void sector_locks::held(std::uint64_t sector) {
  run_on_queue(0, [this, sector](auto&) { guard_.held(sector); });
}

void sector_locks::hold(std::size_t queue, std::uint64_t sector) {
  run_on_queue(queue, [this, sector](auto& q) {
    // A closed queue does not send writes.
    if (auto* const ring = ring_if_current(q))
      ring->hold_sector(sector);
    else
      held(sector);
  });
}

void sector_locks::release(std::size_t queue, std::uint64_t sector) {
  run_on_queue(queue, [this, sector](auto& q) {
    if (auto* const ring = ring_if_current(q)) ring->release_sector(sector);
  });
}

void sector_locks::locked(std::size_t queue, std::uint64_t sector) {
  run_on_queue(queue, [this, sector](auto& q) {
    if (auto* const ring = ring_if_current(q))
      ring->sector_locked(sector);
    else
      unlock(sector);
  });
}

void sector_locks::raise_fences(std::size_t queue, std::uint64_t id, const stretch& bytes) {
  // Count all queues; the calling queue counts as raised immediately.
  const auto left = std::make_shared<std::atomic<std::size_t>>(queues_.size());
  const auto raised = [this, queue, id, left] {
    if (--*left > 0) return;
    run_on_queue(queue, [this, id](auto& q) {
      if (auto* const ring = ring_if_current(q)) ring->fence_raised(id);
    });
  };
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (i == queue || queues_[i].expired()) {
      raised();
      continue;
    }
    run_on_queue(i, [this, id, bytes, raised](auto& q) {
      if (auto* const ring = ring_if_current(q)) ring->raise_fence(id, bytes);
      raised();
    });
  }
}

void sector_locks::lower_fences(std::size_t queue, std::uint64_t id) {
  for (std::size_t i = 0; i < queues_.size(); ++i)
    if (i != queue)
      run_on_queue(i, [this, id](auto& q) {
        if (auto* const ring = ring_if_current(q)) ring->lower_fence(id);
      });
}

}  // namespace xenpv::blkfront
