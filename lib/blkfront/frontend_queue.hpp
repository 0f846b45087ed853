// One queue of a frontend on its CPU: its granted pages, its event channel and its timers, as an
// Asio object around a request_queue. Everything here runs on the thread of the queue's event loop.
//
// Life: open_transport() grants pages and binds a port; once the backend is connected, connect()
// starts the engine; close_transport() ends all of it. A queue that failed keeps answering
// requests, with its failure. When the backend is lost, suspend() takes the place of
// close_transport(): unanswered and new requests wait, and after the next connect() they are sent
// again. A backend with fewer queues than before leaves this one without a ring: its requests then
// go through another, forward_to().
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

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
  std::shared_ptr<flush_ledger> ledger = {};  ///< of the device, with room for `index`; or null
};

/// What a queue tells its frontend; called on the queue's thread.
struct queue_events {
  std::function<void(const error&)> failed;
  std::function<void(const blk::geometry&)> reshaped;
  /// The backend refused flushes; from now on they are answered without it.
  std::function<void()> flush_ignored = {};
};

class frontend_queue final : public blk::block_queue,
                             public std::enable_shared_from_this<frontend_queue>,
                             private engine_host {
 public:
  frontend_queue(async::asio::io_context& context, async::event_loop& loop, std::size_t index,
                 queue_options options, queue_events events);
  ~frontend_queue() override;

  /// Grants this queue's pages of `plan` to `backend` and binds a port for it. Throws `failure`.
  /// `scrub`: the backend is not trusted: pages are zeroed after use.
  [[nodiscard]] queue_transport open_transport(domid backend, const layout& plan, bool scrub);
  /// Unbinds and ungrants. Requests, if any, must have been answered.
  void close_transport() noexcept;

  /// The backend is lost: unbinds and ungrants, and queues requests until the next connect(). Also
  /// for a transport that never connected. Returns how many requests the lost backend had. With
  /// `keep_port` the port stays bound, for the same backend's next connection: Xen makes it
  /// bindable again when the other end closes it, and a port that is not unbound cannot be unbound
  /// at the wrong moment (xen/custodian.hpp).
  std::size_t suspend(bool keep_port, connection_loss loss);
  /// Until the next connect(), queued and new requests are answered with `why`.
  void fail_queued(const error& why);
  /// In place of connect(), for a queue that gets no ring of its own.
  void forward_to(const std::shared_ptr<frontend_queue>& target, const blk::geometry& shape);
  /// New requests are answered with `why`; those that the backend has may end.
  void shut(error why);
  /// The backend has the ring: requests may flow.
  void connect(const backend_properties& properties, const layout& plan, std::uint16_t handle,
               std::shared_ptr<sector_locks> locks);
  void reshape(const blk::geometry& shape);
  /// Answers everything with `why`, from now on. Granted pages are not leased any more, and stay
  /// granted until close_transport().
  void fail(const error& why);
  /// Returns when no request is left and the backend has answered everything, or at the limit.
  [[nodiscard]] async::asio::awaitable<bool> drain(std::chrono::nanoseconds limit);

  [[nodiscard]] queue_statistics statistics() const;
  [[nodiscard]] std::size_t index() const noexcept { return index_; }
  [[nodiscard]] async::asio::io_context& context() const noexcept { return context_; }
  /// nullptr before connect() and after close_transport().
  [[nodiscard]] engine* ring() noexcept { return requests_.ring(); }
  /// Of the connection that ring() belongs to.
  [[nodiscard]] const sector_locks* locks() const noexcept { return locks_.get(); }

  // block_queue
  [[nodiscard]] const blk::geometry& shape() const noexcept override { return shape_; }
  [[nodiscard]] async::asio::any_io_executor executor() const override;
  void submit(blk::request& r) override;
  void commit() override;
  [[nodiscard]] const std::shared_ptr<blk::page_pool>& pages() const noexcept override {
    return data_;
  }

 private:
  struct forwarded_request;
  enum class turn_state : std::uint8_t { none, running, running_again };
  /// Leases of a queue that has no granted pages: enough for a few requests without a detour.
  static constexpr std::size_t own_pages = 64;

  // engine_host
  void schedule_send() override;
  void lock_sector(std::uint64_t sector) override;
  void unlock_sector(std::uint64_t sector) override;
  void sector_held(std::uint64_t sector) override;
  void raise_fences(std::uint64_t id, const stretch& bytes) override;
  void lower_fences(std::uint64_t id) override;
  void shape_changed() override;
  void flush_ignored() override;
  void flush_failed_after_loss() override;
  [[nodiscard]] bool may_take_answers() noexcept override;
  void marked_answered(blk::request& r) override;

  // frontend_queue_forward.cpp
  void send_forwarded() noexcept;
  void forward(blk::request& r, journal::ticket ticket);
  void take_forwarded(const forwarded_request& answer);

  void replace_pool(std::size_t pages) noexcept;
  void drop_transport(bool keep_port) noexcept;
  void schedule_turn();
  void turn(bool event) noexcept;
  bool exchange(std::uint64_t now) noexcept;
  void notify() noexcept;
  void look_soon();
  void start_tick();
  void tick() noexcept;
  void look_for_lost_event(std::uint64_t now) noexcept;
  void report_stall(std::uint64_t now);
  void report_timeouts(std::uint64_t now);
  void report_failure();
  void notice_idle() noexcept;

  async::asio::io_context& context_;
  async::event_loop& loop_;
  std::size_t index_;
  queue_options options_;
  queue_events events_;

  std::shared_ptr<xen::granted_pages> granted_;
  std::optional<ring::blkif_front_ring> ring_;
  std::shared_ptr<blk::page_pool> data_;
  std::shared_ptr<blk::page_pool> fresh_data_;  ///< of a transport that is not connected yet
  std::shared_ptr<blk::page_pool> indirect_;
  async::bound_port port_;
  domid port_for_{};  ///< may bind it
  request_queue requests_;
  std::weak_ptr<frontend_queue> target_;  ///< has the ring, if this queue has none
  std::shared_ptr<sector_locks> locks_;
  blk::geometry shape_;

  turn_state turn_ = turn_state::none;
  bool turn_posted_ = false;
  bool failure_reported_ = false;
  bool stalled_ = false;
  bool looks_soon_ = false;
  bool leaves_answers_ = false;   ///< in the ring, since a suspend that nobody has settled
  std::uint64_t doubted_ns_ = 0;  ///< when that was last asked for
  std::uint32_t distance_ = 1;    ///< of the event that was asked for last
  std::uint64_t answer_interval_ns_ = ~std::uint64_t{0};
  std::uint64_t last_answer_ns_ = 0;
  std::uint64_t last_event_ns_ = 0;
  std::uint64_t last_tick_ns_ = 0;
  async::asio::steady_timer tick_;
  async::asio::steady_timer look_;  ///< while an event stands for several answers
  async::asio::steady_timer idle_;  ///< never expires; cancelled when the queue is idle
};

}  // namespace xenpv::blkfront
