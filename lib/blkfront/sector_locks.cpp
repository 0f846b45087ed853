// Each call is carried out on the thread of the queue it is for, at once if that is where we are.
#include "blkfront/sector_locks.hpp"

#include <boost/asio/dispatch.hpp>

#include <utility>

#include "blkfront/frontend_queue.hpp"

namespace xenpv::blkfront {

template <class Function>
void sector_locks::on_queue(std::size_t index, Function function) {
  const auto target = members_[index].lock();
  if (!target) return;
  boost::asio::dispatch(target->context(),
                        [self = shared_from_this(), target,
                         function = std::move(function)]() mutable { function(*target); });
}

void sector_locks::lock(std::size_t queue, std::uint64_t sector) {
  on_queue(0, [this, queue, sector](auto&) { guard_.lock(queue, sector); });
}

void sector_locks::unlock(std::uint64_t sector) {
  on_queue(0, [this, sector](auto&) { guard_.unlock(sector); });
}

void sector_locks::held(std::uint64_t sector) {
  on_queue(0, [this, sector](auto&) { guard_.held(sector); });
}

void sector_locks::hold(std::size_t queue, std::uint64_t sector) {
  on_queue(queue, [this, sector](auto& q) {
    // A closed queue writes nothing.
    if (q.requests() != nullptr)
      q.requests()->hold_sector(sector);
    else
      held(sector);
  });
}

void sector_locks::release(std::size_t queue, std::uint64_t sector) {
  on_queue(queue, [sector](auto& q) {
    if (q.requests() != nullptr) q.requests()->release_sector(sector);
  });
}

void sector_locks::locked(std::size_t queue, std::uint64_t sector) {
  on_queue(queue, [this, sector](auto& q) {
    if (q.requests() != nullptr)
      q.requests()->sector_locked(sector);
    else
      unlock(sector);
  });
}

}  // namespace xenpv::blkfront
