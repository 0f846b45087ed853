#include "sim/reactor.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

constexpr std::uint32_t hang_up = EPOLLERR | EPOLLHUP;

void control(int epoll, int operation, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll, operation, fd, &event) != 0)
    throw_errno(fmt::format("watch descriptor {}", fd));
}

}  // namespace

reactor::reactor() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw_errno("epoll_create1");
}

void reactor::add(int fd, std::uint32_t events, ready_callback callback) {
  control(epoll_.get(), EPOLL_CTL_ADD, fd, events);
  watches_[fd] = std::make_shared<watch>(watch{std::move(callback)});
}

void reactor::modify(int fd, std::uint32_t events) {
  control(epoll_.get(), EPOLL_CTL_MOD, fd, events);
}

void reactor::remove(int fd) {
  if (watches_.erase(fd) == 0) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void reactor::after(clock::duration delay, std::function<void()> callback) {
  timers_.emplace(clock::now() + delay, std::move(callback));
}

int reactor::timeout() const {
  if (timers_.empty()) return -1;
  const auto left = timers_.begin()->first - clock::now();
  if (left <= clock::duration::zero()) return 0;
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
}

void reactor::run_timers() {
  const auto now = clock::now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    auto callback = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    callback();
  }
}

void reactor::run() {
  std::array<epoll_event, 256> events{};
  while (!stopping_) {
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout());
    if (count < 0 && errno != EINTR) throw_errno("epoll_wait");
    const auto end = events.begin() + std::max(count, 0);
    std::stable_partition(events.begin(), end, [](const epoll_event& e) {
      return (e.events & hang_up) != 0 && (e.events & EPOLLIN) == 0;
    });
    // Look up the watch again for each event: an earlier callback may have removed the watch, and
    // its descriptor number may have been reused.
    struct occurrence {
      int fd;
      std::uint32_t events;
      std::shared_ptr<watch> entry;
    };
    std::vector<occurrence> round;
    for (auto it = events.begin(); it != end; ++it)
      if (const auto known = watches_.find(it->data.fd); known != watches_.end())
        round.push_back({it->data.fd, it->events, known->second});
    for (const auto& event : round) {
      const auto known = watches_.find(event.fd);
      if (known != watches_.end() && known->second == event.entry)
        event.entry->callback(event.events);
    }
    run_timers();
  }
}

}  // namespace xenpv::sim
