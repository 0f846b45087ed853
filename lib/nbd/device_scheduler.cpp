#include "nbd/device_scheduler.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

namespace xenpv::nbd {
namespace {

/// Cost that a connection may start in one round.
constexpr std::uint64_t quantum = std::uint64_t{64} << 10;

}  // namespace

std::uint64_t device_scheduler::coarse_now() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void device_scheduler::remove(flow& connection) noexcept {
  activity_.remove_connection();
  if (light_ != &connection) return;
  light_ = nullptr;
  other_light_ns_ = light_ns_ = std::max(light_ns_, other_light_ns_);
}

void device_scheduler::note_light(const flow& connection) noexcept {
  if (activity_.connections() < 2) return;
  if (light_ != &connection) {
    light_ = &connection;
    other_light_ns_ = std::max(light_ns_, other_light_ns_);
  }
  light_ns_ = now_();
  activity_.set_light(index_, light_ns_);
}

bool device_scheduler::was_light_recently(const flow& connection) const noexcept {
  const auto now = now_();
  const auto since = now - std::min(now, limits_.linger_ns);
  const auto other = light_ == &connection ? other_light_ns_ : light_ns_;
  return other > since || activity_.is_light_elsewhere(index_, since);
}

/// See submit(); r.cost is set.
void device_scheduler::submit_shared(flow& connection, device_request& r) {
  const std::uint64_t cost = r.cost;
  if (connection.first == nullptr) {
    const bool is_light = connection.at_device + cost <= limits_.light;
    if (is_light) note_light(connection);
    if (is_light) return start(connection, r, true);
    const auto bulk = bulk_ + cost;
    const bool is_free = first_ == nullptr &&
                         (bulk <= limits_.latency || bulk_ == 0 || bulk <= limit_for(connection));
    if (is_free) return start(connection, r, false);
  }
  r.next_waiting = nullptr;
  if (connection.first != nullptr) {
    connection.last = connection.last->next_waiting = &r;
    return;
  }
  connection.first = connection.last = &r;
  connection.next = nullptr;
  (first_ == nullptr ? first_ : last_->next) = &connection;
  last_ = &connection;
}

void device_scheduler::start(flow& connection, device_request& r, bool is_light) {
  r.is_light = is_light;
  if (!is_light) bulk_ += r.cost;
  connection.at_device += r.cost;
  queue_.submit(r);
}

/// Deficit round-robin over the connections with waiting requests.
void device_scheduler::start_waiting() {
  while (first_ != nullptr) {
    auto& connection = *first_;
    const auto limit = limit_for(connection);
    if (!std::exchange(connection.has_turn, true)) connection.credit += quantum;
    while (connection.first != nullptr && connection.first->cost <= connection.credit) {
      auto& r = *connection.first;
      if (bulk_ + r.cost > limit && bulk_ > 0) return;
      connection.first = r.next_waiting;
      connection.credit -= r.cost;
      start(connection, r, false);
    }
    connection.has_turn = false;
    first_ = connection.next;
    if (connection.first == nullptr) {
      connection.credit = 0;
      continue;
    }
    connection.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &connection;
    last_ = &connection;
  }
}

device_traffic::device_traffic(blk::block_device& device, scheduler_limits limits)
    : activity_(device.queue_count()) {
  for (std::size_t i = 0; i < device.queue_count(); ++i)
    queues_.push_back(std::make_unique<device_scheduler>(device.queue(i), activity_, i, limits));
}

}  // namespace xenpv::nbd
