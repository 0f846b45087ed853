// One queue of a frontend on its CPU: an Asio object around a request_queue, with granted pages, an
// event channel and timers. All code of this class runs on the queue's event-loop thread.
//
// Lifetime: open_transport() grants pages and binds a port; connect() starts the engine once the
// backend is connected; close_transport() ends both. A failed queue completes all requests with its
// failure. When the backend is lost, call suspend() instead of close_transport(): unanswered and
// new requests then wait and are sent after the next connect(). If the next backend supports fewer
// queues, this queue may not get a ring; forward_to() then sends its requests through another
// queue.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "async/event_batch.hpp"
#include "async/signal.hpp"
#include "blkfront/coalescing.hpp"
#include "blkfront/connection_loss.hpp"
#include "blkfront/layout.hpp"
#include "blkfront/request_queue.hpp"
#include "blkfront/sector_locks.hpp"
#include "blkfront/transport.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/xen/grant_share.hpp"

namespace xenpv::blkfront {

struct queue_options {
  std::string name;  ///< "device/vbd/51728 queue 0", for messages
  std::chrono::nanoseconds request_deadline{};
  std::chrono::nanoseconds stall_report{};
  bool strict_flush = false;
  bool trust_backend_cache = false;
  std::shared_ptr<flush_ledger> ledger =
      {};  ///< the device's ledger, with an entry for each queue; may be null
};

/// Callbacks to the frontend, called on the queue's thread.
struct queue_events {
  std::function<void(const error&)> failed;
  std::function<void(const blk::geometry&)> geometry_changed;
  /// The backend refused a flush; flushes now succeed without reaching the backend.
  std::function<void()> flush_ignored = {};
};

class frontend_queue final : public blk::block_queue,
                             public std::enable_shared_from_this<frontend_queue>,
                             private engine_host {
 public:
  frontend_queue(asio::io_context& context, async::event_loop& loop, std::size_t index,
                 queue_options options, queue_events events);
  ~frontend_queue() override;

  /// Grants this queue's pages of `plan` to `backend` and binds a port for it. Throws `failure`.
  /// `scrub`: zero pages after use because the backend is untrusted.
  [[nodiscard]] queue_transport open_transport(domid backend, const layout& plan, bool scrub);
  /// Unbinds and ungrants. All requests must have completed.
  void close_transport() noexcept;

  /// Call when the backend is lost, even if the transport never connected. Unbinds and ungrants,
  /// and queues requests until the next connect(). Returns the number of requests that the lost
  /// backend left unanswered. `keep_port`: leave the port bound for the next connection to the same
  /// backend. Xen makes the port bindable again when the other end closes its port, and keeping the
  /// port avoids an unbind after an undetected resume (xen/custodian.hpp).
  std::size_t suspend(bool keep_port, connection_loss loss);
  /// Fails queued and new requests with `reason` until the next connect().
  void fail_queued(const error& reason) { requests_.expire(reason); }
  /// Call instead of connect() for a queue without its own ring: `target` sends its requests.
  void forward_to(const std::shared_ptr<frontend_queue>& target, const blk::geometry& shape);
  /// Refuses new requests with `reason`; requests in flight may complete.
  void shut(error reason) { requests_.shut(std::move(reason)); }
  /// Call when the backend is connected: starts sending requests.
  void connect(const backend_properties& properties, const layout& plan, std::uint16_t handle,
               std::shared_ptr<sector_locks> locks);
  void set_geometry(const blk::geometry& shape);
  /// Fails all current and future requests with `reason`. Granted pages are no longer leased but
  /// stay granted until close_transport().
  void fail(const error& reason);
  /// Returns true when all requests have completed and the backend has responded to all ring
  /// requests. Returns false when `limit` expires.
  [[nodiscard]] asio::awaitable<bool> drain(std::chrono::nanoseconds limit);

  [[nodiscard]] queue_statistics statistics() const;
  [[nodiscard]] std::size_t index() const noexcept { return index_; }
  [[nodiscard]] asio::io_context& context() const noexcept { return context_; }
  /// Null before connect() and after close_transport().
  [[nodiscard]] engine* ring() noexcept { return requests_.ring(); }
  /// The sector locks of the connection to which ring() belongs.
  [[nodiscard]] const sector_locks* locks() const noexcept { return locks_.get(); }

  // block_queue
  [[nodiscard]] asio::any_io_executor get_executor() const override {
    return context_.get_executor();
  }
  void submit(blk::request& r) override;
  void commit() override { turn(false); }

 private:
  struct forwarded_request;
  enum class turn_state : std::uint8_t { none, running, running_again };
  /// The number of pages that a queue without granted pages can lease: enough for a few requests.
  static constexpr std::size_t own_pages = 64;

  // engine_host
  void schedule_send() override { schedule_turn(); }
  void lock_sector(std::uint64_t sector) override { locks_->lock(index_, sector); }
  void unlock_sector(std::uint64_t sector) override { locks_->unlock(sector); }
  void sector_held(std::uint64_t sector) override { locks_->held(sector); }
  void raise_fences(std::uint64_t id, const stretch& bytes) override {
    locks_->raise_fences(index_, id, bytes);
  }
  void lower_fences(std::uint64_t id) override { locks_->lower_fences(index_, id); }
  void shape_changed() override;
  void flush_ignored() override;
  void flush_failed_after_loss() override;
  [[nodiscard]] bool may_consume_responses() noexcept override;
  void marked_answered(blk::request& r) override;

  // frontend_queue_forward.cpp
  void send_forwarded() noexcept;
  void forward(blk::request& r, journal::ticket ticket);
  void take_forwarded(const forwarded_request& answer);

  void replace_pool(std::size_t pages) noexcept;
  void drop_transport(bool keep_port) noexcept;
  void schedule_turn();
  void post_turn();
  void turn_if_due() noexcept {
    // A commit() or an event may have sent everything already.
    if (turn_due_) turn(false);
  }
  void turn(bool event) noexcept;
  bool exchange(std::uint64_t now) noexcept;
  void notify() noexcept;
  void schedule_poll();
  void start_tick();
  void tick() noexcept;
  void check_for_lost_event(std::uint64_t now) noexcept;
  void report_stall(std::uint64_t now);
  void report_timeouts(std::uint64_t now);
  void report_failure();
  void notice_idle() noexcept;

  asio::io_context& context_;
  async::event_loop& loop_;
  std::size_t index_;
  queue_options options_;
  queue_events events_;

  std::shared_ptr<xen::granted_pages> granted_;
  std::optional<ring::blkif_front_ring> ring_;
  std::shared_ptr<blk::page_pool> fresh_pages_;  ///< pages of a transport that is not connected yet
  std::shared_ptr<blk::page_pool> indirect_;
  async::bound_port port_;
  domid port_for_{};  ///< the domain that may bind the port
  request_queue requests_;
  std::weak_ptr<frontend_queue> target_;  ///< sends the requests if this queue lacks a ring
  std::shared_ptr<sector_locks> locks_;

  turn_state turn_ = turn_state::none;
  async::batch_task turn_at_end_of_batch_{[this] {
    const auto self = shared_from_this();  // a completion may drop the last reference
    turn_if_due();
  }};
  bool turn_posted_ = false;
  bool turn_due_ = false;  ///< there may be requests to send since the last turn()
  bool failure_reported_ = false;
  bool stalled_ = false;
  bool poll_scheduled_ = false;
  bool defers_responses_ = false;  ///< responses stay in the ring because a suspend is unresolved
  std::uint64_t suspend_asked_ns_ = 0;  ///< time of the last check for a suspend
  std::uint32_t distance_ = 1;          ///< distance of the last requested event, in responses
  std::uint64_t response_interval_ns_ = ~std::uint64_t{0};
  std::uint64_t last_response_ns_ = 0;
  std::uint64_t last_event_ns_ = 0;
  std::uint64_t last_tick_ns_ = 0;
  asio::steady_timer tick_;
  asio::steady_timer poll_;  ///< runs while several responses share an event
  async::signal idle_;       ///< notified when the last request completes or the ring is lost
};

}  // namespace xenpv::blkfront
