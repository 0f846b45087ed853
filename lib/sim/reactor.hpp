// The host's event loop: descriptors and timers on one thread. Uses epoll directly, because the
// simulator must not depend on the event loop under test. Callbacks may add timers, and may add and
// remove watches, including their own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

class reactor {
 public:
  using clock = std::chrono::steady_clock;
  using ready_callback = std::function<void(std::uint32_t events)>;

  reactor();
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;
  ~reactor() = default;

  /// Watches `fd` (not owned) for EPOLL* `events`; EPOLLERR and EPOLLHUP are always included.
  void add(int fd, std::uint32_t events, ready_callback callback);
  void modify(int fd, std::uint32_t events);
  /// Must be called before `fd` is closed. Drops events that epoll has already returned for `fd`.
  void remove(int fd);

  void after(clock::duration delay, std::function<void()> callback);

  /// Runs until stop(). Each iteration handles hang-ups before requests: if a process closes a
  /// descriptor and then sends a request, the close takes effect first.
  void run();
  void stop() noexcept { stopping_ = true; }

 private:
  struct watch {
    ready_callback callback;
  };
  [[nodiscard]] int timeout() const;
  void run_timers();

  unique_fd epoll_;
  std::unordered_map<int, std::shared_ptr<watch>> watches_;
  std::multimap<clock::time_point, std::function<void()>> timers_;
  bool stopping_ = false;
};

}  // namespace xenpv::sim
