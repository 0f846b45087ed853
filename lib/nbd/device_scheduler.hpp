// Decides the order in which the connections of a device queue use the device, so that one
// connection cannot delay the others by more than a fraction of a millisecond.
//
// Requests of a connection with few bytes in flight start immediately. Device requests of other
// connections wait in one queue per connection, served in turn, while the bytes in flight at the
// device exceed a limit. The limit is low if a connection with few bytes in flight was active
// recently, on any queue of the device: its requests then find a short queue at the device.
//
// One scheduler per queue, used on the queue's thread. Owned by device_traffic, which the server
// owns and whose table of recent activity all threads share. Orders only the start of requests: NBD
// does not order requests in flight.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "nbd/client_request.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::nbd {

/// Costs are in bytes: the length of a device request and an allowance for its fixed cost.
struct scheduler_limits {
  /// Cost at the device that keeps it busy if no connection needs fast answers. Like `latency`,
  /// does not count the requests of light connections.
  std::uint64_t throughput = std::uint64_t{6} << 20;
  /// The same while a connection with few bytes at the device is active.
  std::uint64_t latency = std::uint64_t{48} << 10;
  /// A connection with no more than this at the device does not wait for others.
  std::uint64_t light = std::uint64_t{64} << 10;
  /// How long a light connection counts as active after its last request.
  std::uint64_t linger_ns = 100'000'000;
};

/// Recent activity on the queues of a device; shared by the threads of the queues.
class activity_table {
 public:
  explicit activity_table(std::size_t queues) : rows_(queues) {}

  void set_light(std::size_t queue, std::uint64_t now) noexcept {
    rows_[queue].light_ns.store(now, std::memory_order_relaxed);
  }
  /// Whether a light connection was active after `since` on a queue other than `queue`.
  [[nodiscard]] bool is_light_elsewhere(std::size_t queue, std::uint64_t since) const noexcept {
    for (std::size_t i = 0; i < rows_.size(); ++i)
      if (i != queue && rows_[i].light_ns.load(std::memory_order_relaxed) > since) return true;
    return false;
  }
  void add_connection() noexcept { connections_.fetch_add(1, std::memory_order_relaxed); }
  void remove_connection() noexcept { connections_.fetch_sub(1, std::memory_order_relaxed); }
  /// The number of connections on all queues.
  [[nodiscard]] unsigned connections() const noexcept {
    return connections_.load(std::memory_order_relaxed);
  }

 private:
  struct alignas(64) row {
    std::atomic<std::uint64_t> light_ns{0};
  };
  std::vector<row> rows_;
  alignas(64) std::atomic<unsigned> connections_{0};
};

class device_scheduler {
 public:
  /// The part of one connection; owned by its dispatcher.
  struct flow {
    device_request* first = nullptr;  ///< waiting, oldest first
    device_request* last = nullptr;
    std::uint64_t at_device = 0;  ///< cost of the requests at the device
    std::uint64_t credit = 0;     ///< cost that it may start in this round
    flow* next = nullptr;         ///< in the list of waiting connections
    bool has_turn = false;        ///< received its credit for this round
  };
  /// Steady time in nanoseconds; a resolution of a few milliseconds suffices.
  using clock = std::uint64_t (*)() noexcept;
  [[nodiscard]] static std::uint64_t coarse_now() noexcept;

  /// All arguments must outlive the scheduler. `index` is the queue's row in `activity`.
  device_scheduler(blk::block_queue& queue, activity_table& activity, std::size_t index,
                   scheduler_limits limits = {}, clock now = coarse_now)
      : queue_(queue), activity_(activity), index_(index), limits_(limits), now_(now) {}
  device_scheduler(const device_scheduler&) = delete;
  device_scheduler& operator=(const device_scheduler&) = delete;

  void add(flow& /*connection*/) noexcept { activity_.add_connection(); }
  /// Requires that `connection` has no requests at the device and none waiting.
  void remove(flow& connection) noexcept;

  /// Passes `r` to the device, now or later. The requests of one connection start in order.
  void submit(flow& connection, device_request& r) {
    r.cost = cost_of(r);
    const auto bulk = bulk_ + r.cost;
    if (first_ != nullptr || bulk > limits_.throughput || activity_.connections() > 1)
      return submit_shared(connection, r);
    // There is no other connection.
    r.is_light = false;
    bulk_ = bulk;
    connection.at_device += r.cost;
    queue_.submit(r);
  }
  /// Call when the device has completed `r`, before using `r` again. Starts waiting requests.
  void finished(flow& connection, const device_request& r) {
    connection.at_device -= r.cost;
    if (!r.is_light) bulk_ -= r.cost;
    if (first_ != nullptr) start_waiting();
  }
  /// Whether another connection with few bytes at the device was active recently, on any queue.
  [[nodiscard]] bool has_light_neighbour(const flow& connection) const noexcept {
    return activity_.connections() > 1 && was_light_recently(connection);
  }

 private:
  /// The cost of a request in addition to its length.
  static constexpr std::uint32_t fixed_cost = std::uint32_t{12} << 10;
  /// The assumed cost of a discard; the real cost depends on the backend.
  static constexpr std::uint32_t discard_cost = std::uint32_t{64} << 10;

  [[nodiscard]] static std::uint32_t cost_of(const blk::request& r) noexcept {
    if (r.op <= blk::operation::write) return static_cast<std::uint32_t>(r.length) + fixed_cost;
    return r.op == blk::operation::flush ? fixed_cost : discard_cost;
  }
  void submit_shared(flow& connection, device_request& r);
  void start(flow& connection, device_request& r, bool is_light);
  void start_waiting();
  void note_light(const flow& connection) noexcept;
  [[nodiscard]] bool was_light_recently(const flow& connection) const noexcept;
  [[nodiscard]] std::uint64_t limit_for(const flow& connection) const noexcept {
    return has_light_neighbour(connection) ? limits_.latency : limits_.throughput;
  }

  blk::block_queue& queue_;
  activity_table& activity_;
  std::size_t index_;
  scheduler_limits limits_;
  clock now_;
  std::uint64_t bulk_ = 0;  ///< cost at the device, except light requests
  flow* first_ = nullptr;   ///< the connections with waiting requests; the first one's turn is next
  flow* last_ = nullptr;
  // The last light request, and the last one of any other connection.
  const flow* light_ = nullptr;
  std::uint64_t light_ns_ = 0;
  std::uint64_t other_light_ns_ = 0;
};

/// The schedulers of all queues of a device.
class device_traffic {
 public:
  explicit device_traffic(blk::block_device& device, scheduler_limits limits = {});

  /// Call on any thread; use the scheduler on the queue's thread.
  [[nodiscard]] device_scheduler& scheduler(std::size_t queue) noexcept { return *queues_[queue]; }

 private:
  activity_table activity_;
  std::vector<std::unique_ptr<device_scheduler>> queues_;
};

}  // namespace xenpv::nbd
