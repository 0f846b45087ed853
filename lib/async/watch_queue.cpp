#include "async/watch_queue.hpp"

#include <algorithm>
#include <utility>

namespace xenpv::async {

void watch_queue::push(std::string path) {
  if (events_.size() < capacity_) {
    events_.push_back({.path = std::move(path)});
    return;
  }
  const bool covered = std::any_of(events_.begin(), events_.end(), [&](const watch_event& event) {
    return event.overflowed || event.path == path;
  });
  if (covered) return;
  // An overflow event covers all queued events.
  events_.clear();
  events_.push_back({.path = path_, .overflowed = true});
}

std::optional<watch_event> watch_queue::pop() {
  if (events_.empty()) return std::nullopt;
  auto first = std::move(events_.front());
  events_.pop_front();
  return first;
}

}  // namespace xenpv::async
