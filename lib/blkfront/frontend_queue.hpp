// One queue of a frontend on its CPU: an engine, its granted pages and its event channel, as an
// Asio object. Everything here runs on the thread of the queue's event loop.
//
// Life: open_transport() grants pages and binds a port; once the backend is connected, connect()
// starts the engine; close_transport() gives all of it back. A queue that failed keeps answering
// requests, with its failure.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blkfront/coalescing.hpp"
#include "blkfront/engine.hpp"
#include "blkfront/layout.hpp"
#include "blkfront/poll_budget.hpp"
#include "blkfront/sector_locks.hpp"
#include "blkfront/transport.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/xen/grant_share.hpp"

namespace xenpv::blkfront {

struct queue_options {
  std::string name;  ///< "device/vbd/51728 queue 0", for messages
  std::chrono::nanoseconds request_deadline{};
  std::chrono::nanoseconds poll_limit{};
  bool scrub = false;  ///< the backend is not trusted: pages are zeroed after use
};

/// What a queue tells its frontend; called on the queue's thread.
struct queue_events {
  std::function<void(const error&)> failed;
  std::function<void(const blk::geometry&)> reshaped;
};

class frontend_queue final : public blk::block_queue,
                             public std::enable_shared_from_this<frontend_queue>,
                             private engine_host {
 public:
  frontend_queue(async::asio::io_context& context, async::event_loop& loop, std::size_t index,
                 queue_options options, queue_events events);
  ~frontend_queue() override;

  /// Grants this queue's pages of `plan` to `backend` and binds a port for it. Throws `failure`.
  [[nodiscard]] queue_transport open_transport(domid backend, const layout& plan);
  /// Unbinds and ungrants. Requests, if any, must have been answered.
  void close_transport() noexcept;
  /// The backend has the ring: requests may flow.
  void connect(const backend_properties& properties, const layout& plan, std::uint16_t handle,
               std::shared_ptr<sector_locks> members);
  void reshape(const blk::geometry& shape);
  /// Answers everything with `why`, from now on.
  void fail(error why);
  /// Returns when no request is left and the backend has answered everything, or at the limit.
  [[nodiscard]] async::asio::awaitable<bool> drain(std::chrono::nanoseconds limit);

  [[nodiscard]] queue_statistics statistics() const;
  [[nodiscard]] std::size_t index() const noexcept { return index_; }
  [[nodiscard]] async::asio::io_context& context() const noexcept { return context_; }
  /// nullptr before connect() and after close_transport().
  [[nodiscard]] engine* requests() noexcept { return engine_.get(); }

  // block_queue
  [[nodiscard]] const blk::geometry& shape() const noexcept override { return shape_; }
  [[nodiscard]] async::asio::any_io_executor executor() const override;
  void submit(blk::request& r) override;
  void commit() override;
  [[nodiscard]] const std::shared_ptr<blk::page_pool>& pages() const noexcept override {
    return data_;
  }

 private:
  void wanted() override;
  void lock_sector(std::uint64_t sector) override;
  void unlock_sector(std::uint64_t sector) override;
  void sector_held(std::uint64_t sector) override;
  void shape_changed() override;

  void schedule_turn();
  void turn(bool event) noexcept;
  bool exchange(std::uint64_t now) noexcept;
  void poll() noexcept;
  void notify() noexcept;
  void start_tick();
  void tick() noexcept;
  void report_failure();
  void settle_idle() noexcept;

  async::asio::io_context& context_;
  async::event_loop& loop_;
  std::size_t index_;
  queue_options options_;
  queue_events events_;

  std::shared_ptr<xen::granted_pages> granted_;
  std::optional<ring::blkif_front_ring> ring_;
  std::shared_ptr<blk::page_pool> data_;
  std::shared_ptr<blk::page_pool> indirect_;
  async::bound_port port_;
  std::unique_ptr<engine> engine_;
  std::shared_ptr<sector_locks> members_;
  error closed_;  ///< what requests get once there is no engine
  queue_statistics last_statistics_;
  blk::geometry shape_;

  bool turn_scheduled_ = false;
  bool in_turn_ = false;
  bool look_again_ = false;
  bool failure_reported_ = false;
  std::uint64_t answer_interval_ns_ = ~std::uint64_t{0};
  std::uint64_t last_answer_ns_ = 0;
  std::uint64_t last_event_ns_ = 0;
  poll_budget poll_;
  async::asio::steady_timer tick_;
  async::asio::steady_timer idle_;  ///< never expires; cancelled when the queue is idle
};

}  // namespace xenpv::blkfront
