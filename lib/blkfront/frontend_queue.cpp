#include "blkfront/frontend_queue.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

#include "base/parse.hpp"
#include "blk/clock.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkfront {
namespace {

using clock = std::chrono::steady_clock;

/// The interval at which a queue checks the progress of its requests and thus detects lost events.
constexpr std::chrono::nanoseconds default_tick = std::chrono::seconds(1);

/// How long a response may stay in the ring while several responses share an event.
constexpr std::chrono::milliseconds poll_delay(1);

/// A deadline is detected at most a quarter of its length late.
std::chrono::nanoseconds tick_for(const queue_options& options) {
  auto tick = default_tick;
  for (const auto limit : {options.request_deadline, options.stall_report})
    if (limit.count() != 0) tick = std::min(tick, limit / 4);
  return std::max<std::chrono::nanoseconds>(tick, std::chrono::milliseconds(1));
}

/// The maximum number of exchange() calls in one turn(); other handlers of this CPU run after it.
constexpr unsigned rounds_per_turn = 16;

std::vector<grant_ref> part(std::span<const grant_ref> refs, std::size_t first, std::size_t count) {
  const auto piece = refs.subspan(first, count);
  return {piece.begin(), piece.end()};
}

std::shared_ptr<blk::page_pool> ungranted_pool(std::size_t pages) {
  const auto bytes = pages * page_size;
  const std::shared_ptr<std::byte[]> memory(new std::byte[bytes]);
  return std::make_shared<blk::page_pool>(std::span(memory.get(), bytes), memory);
}

}  // namespace

frontend_queue::frontend_queue(asio::io_context& context, async::event_loop& loop,
                               std::size_t index, queue_options options, queue_events events)
    : context_(context),
      loop_(loop),
      index_(index),
      options_(std::move(options)),
      events_(std::move(events)),
      requests_(options_.ledger, index,
                make_error(std::make_error_code(std::errc::operation_canceled), options_.name)),
      tick_(context),
      poll_(context),
      idle_(context.get_executor()) {}

frontend_queue::~frontend_queue() = default;

queue_transport frontend_queue::open_transport(domid backend, const layout& plan, bool scrub) {
  const auto rings = plan.ring_pages();
  auto granted = xen::grant_sharer::open().share(backend, plan.pages_per_queue(), true);
  granted_ = std::make_shared<xen::granted_pages>(std::move(granted));
  const auto bytes = granted_->bytes();
  ring_.emplace(bytes.first(rings * page_size));
  const auto pool = [&](std::size_t first, std::size_t count) {
    return std::make_shared<blk::page_pool>(bytes.subspan(first * page_size, count * page_size),
                                            granted_, scrub);
  };
  // Do not allow leases before connect(), because the engine reserves its own pages first.
  fresh_pages_ = pool(rings, plan.data_pages);
  indirect_ =
      plan.indirect_pages == 0 ? nullptr : pool(rings + plan.data_pages, plan.indirect_pages);
  if (!port_.is_live() || port_for_ != backend) {
    port_ = loop_.bind_unbound(backend);
    port_for_ = backend;
    // Fail if the port dies: without events, every response would silently be delayed by a tick.
    port_.on_death([self = weak_from_this()](const error& reason) {
      const auto live = self.lock();
      if (!live || live->ring() == nullptr) return;
      live->ring()->fail(reason);
      live->report_failure();
    });
  }
  return {part(granted_->refs(), 0, rings), port_.number()};
}

void frontend_queue::connect(const backend_properties& properties, const layout& plan,
                             std::uint16_t handle, std::shared_ptr<sector_locks> locks) {
  const auto refs = granted_->refs();
  const auto before = std::exchange(pages_, std::move(fresh_pages_));
  engine_setup setup{.ring = *ring_,
                     .data = {pages_, part(refs, plan.ring_pages(), plan.data_pages)},
                     .indirect = {},
                     .shape = properties.shape,
                     .unit = properties.unit,
                     .segments = plan.segments,
                     .flush_cache = properties.flush_cache,
                     .barrier = properties.barrier,
                     .only_queue = plan.queues == 1,
                     .handle = handle,
                     .strict_flush = options_.strict_flush};
  if (indirect_)
    setup.indirect = {indirect_,
                      part(refs, plan.ring_pages() + plan.data_pages, plan.indirect_pages)};
  locks_ = std::move(locks);
  shape_ = properties.shape;
  engine_host& host = *this;
  requests_.connect(std::move(setup), host);
  locks_->join();
  last_event_ns_ = last_response_ns_ = last_tick_ns_ = blk::now_ns();
  stalled_ = false;
  // The port's handler may still run in the event-loop iteration after the queue is destroyed, so
  // the handler holds a weak_ptr.
  port_.on_event([self = weak_from_this()] {
    if (const auto live = self.lock()) live->turn(true);
  });
  start_tick();
  schedule_turn();
  // The waiters wait for pages of the old, empty pool.
  if (before) before->wake_all();
}

/// Switches future leases to ungranted memory. Existing leases keep their pages and thus the old
/// pool's grants.
void frontend_queue::replace_pool(std::size_t pages) noexcept {
  const auto before = std::exchange(pages_, ungranted_pool(pages));
  requests_.leave_pages();
  if (before) before->wake_all();
}

/// Releases the ring, its pages and, unless `keep_port`, the port. Keeps `pages_`, which pages()
/// returns.
void frontend_queue::drop_transport(bool keep_port) noexcept {
  tick_.cancel();
  poll_.cancel();
  if (!keep_port || !port_.is_live())
    port_ = {};
  else
    port_.on_event({});
  ring_.reset();
  // Existing leases keep their pages alive.
  indirect_.reset();
  fresh_pages_.reset();
  granted_.reset();
}

void frontend_queue::close_transport() noexcept {
  requests_.close();
  drop_transport(false);
  idle_.notify();
  replace_pool(0);
}

std::size_t frontend_queue::suspend(bool keep_port, connection_loss loss) {
  const bool lost_cache = loss == connection_loss::abrupt && !options_.trust_backend_cache;
  // Consume the responses that arrived before the backend was lost; requests submitted by their
  // completion handlers have to wait. After a resume, do not read the ring: its contents belong to
  // another connection.
  turn_ = turn_state::running;
  const auto unanswered = requests_.suspend(port_.is_live(), lost_cache, blk::now_ns());
  turn_ = turn_state::none;
  if (auto* const ring = requests_.ring()) {
    if (ring->failure_reason()) report_failure();
    return 0;
  }
  target_.reset();
  drop_transport(keep_port);
  replace_pool(0);
  idle_.notify();
  return unanswered;
}

void frontend_queue::fail(const error& reason) {
  requests_.fail(reason);
  target_.reset();
  // Pages of unanswered requests are not in the pool, but the backend can read all granted pages,
  // so new leases must not use the pool.
  if (pages_ && granted_) replace_pool(own_pages);
  notice_idle();
}

void frontend_queue::set_geometry(const blk::geometry& shape) {
  shape_ = shape;
  if (auto* const ring = requests_.ring()) ring->reshape(shape);
}

void frontend_queue::submit(blk::request& r) {
  const auto fate = requests_.submit(r, requests_.sends_at_once() ? 0 : blk::now_ns());
  if (fate == request_queue::fate::sent_soon) return schedule_turn();
  if (fate == request_queue::fate::refused) asio::post(context_, [&r] { r.done(r); });
}

void frontend_queue::schedule_turn() {
  if (turn_ != turn_state::none) {
    turn_ = turn_state::running_again;
    return;
  }
  turn_due_ = true;
  if (!async::event_batch::add(turn_at_end_of_batch_)) post_turn();
}

void frontend_queue::post_turn() {
  turn_due_ = true;
  if (std::exchange(turn_posted_, true)) return;
  asio::post(context_, [self = shared_from_this()] {
    self->turn_posted_ = false;
    self->turn_if_due();
  });
}

/// Consumes responses and sends requests once. Returns true if there were responses.
bool frontend_queue::exchange(std::uint64_t now) noexcept {
  auto& ring = *requests_.ring();
  const auto before = ring.in_flight();
  const bool any = ring.drain(now);
  if (any) {
    const auto responses = std::max(1U, before - ring.in_flight());
    response_interval_ns_ = (now - std::exchange(last_response_ns_, now)) / responses;
  }
  // Requests that completion handlers submit are sent in this round.
  turn_ = turn_state::running;
  if (requests_.send(now)) notify();
  return any;
}

bool frontend_queue::may_consume_responses() noexcept {
  // After a resume, the port dies before suspend_pending() becomes false.
  const bool is_live = port_.is_live();
  defers_responses_ = !is_live || loop_.suspend_pending();
  if (!defers_responses_) return true;
  // After a cancelled suspend, the port stays alive and only this code triggers the check.
  const auto now = blk::now_ns();
  if (is_live && now - suspend_asked_ns_ >= static_cast<std::uint64_t>(default_tick.count())) {
    suspend_asked_ns_ = now;
    loop_.report_suspend();
  }
  return false;
}

void frontend_queue::notify() noexcept {
  try {
    port_.notify();
  } catch (const failure& problem) {
    // After a resume, the port is dead and this queue will be suspended soon.
    if (problem.code() == errc::resumed || problem.code() == std::errc::not_connected) return;
    requests_.ring()->fail(error{problem.code(), problem.what()});
  }
}

void frontend_queue::turn(bool event) noexcept {
  if (turn_ != turn_state::none) return;
  turn_due_ = false;
  auto* const ring = requests_.ring();
  if (ring == nullptr) return send_forwarded();
  turn_ = turn_state::running;
  auto now = blk::now_ns();
  if (event) {
    ++ring->counters().events;
    last_event_ns_ = now;
  }
  bool any = false;
  bool more = true;
  defers_responses_ = false;
  for (unsigned round = 0; more && round < rounds_per_turn; ++round) {
    if (round != 0) now = blk::now_ns();
    any = exchange(now) || any;
    // Use at least the time since the last response, because the backend may have paused.
    const auto interval = std::max(response_interval_ns_, now - last_response_ns_);
    distance_ = event_distance(ring->in_flight(), interval);
    if (defers_responses_) break;
    more = !ring->failure_reason() && (!ring->arm(distance_) || turn_ == turn_state::running_again);
  }
  if (event && !any) ++ring->counters().spurious_events;
  turn_ = turn_state::none;
  if (ring->failure_reason()) report_failure();
  if (defers_responses_ || (!more && distance_ > 1))
    schedule_poll();
  else if (more)
    post_turn();  // lets other handlers run first
  notice_idle();
}

/// An event shared by several responses arrives only with the last of them, so poll until then.
void frontend_queue::schedule_poll() {
  if (std::exchange(poll_scheduled_, true)) return;
  poll_.expires_after(poll_delay);
  poll_.async_wait([self = weak_from_this()](boost::system::error_code code) {
    const auto live = self.lock();
    if (!live) return;
    live->poll_scheduled_ = false;
    const bool is_needed = live->distance_ > 1 || live->defers_responses_;
    if (!code && is_needed && live->ring() != nullptr) live->turn(false);
  });
}

void frontend_queue::start_tick() {
  tick_.expires_after(tick_for(options_));
  tick_.async_wait([self = weak_from_this()](boost::system::error_code code) {
    const auto live = self.lock();
    if (code || !live || live->ring() == nullptr) return;
    live->tick();
    if (live->ring() != nullptr) live->start_tick();
  });
}

void frontend_queue::tick() noexcept {
  if (ring()->failure_reason()) return;
  const auto now = blk::now_ns();
  const auto due = static_cast<std::uint64_t>(tick_for(options_).count());
  const auto late_ns = now - std::exchange(last_tick_ns_, now);
  // The guest was saved or paused, or a debugger stopped the process: the backend is not at fault.
  if (late_ns > 2 * due) ring()->extend_deadlines(late_ns - due);
  check_for_lost_event(now);
  if (ring() == nullptr || ring()->failure_reason()) return;
  report_stall(now);
  if (options_.request_deadline.count() != 0) report_timeouts(now);
}

/// Handles an event that was lost in either direction: polls the ring and notifies the backend.
void frontend_queue::check_for_lost_event(std::uint64_t now) noexcept {
  const auto due = static_cast<std::uint64_t>(tick_for(options_).count());
  const auto quiet_ns = now - std::max(last_response_ns_, last_event_ns_);
  if (ring()->in_flight() == 0 || quiet_ns < due) return;
  turn(false);
  if (ring() == nullptr || ring()->failure_reason()) return;
  if (ring()->in_flight() > 0) notify();
  if (ring()->failure_reason()) report_failure();
}

void frontend_queue::report_stall(std::uint64_t now) {
  const auto limit = static_cast<std::uint64_t>(options_.stall_report.count());
  const auto oldest = ring()->oldest_unanswered(now);
  const bool stalls = limit != 0 && oldest >= limit;
  if (stalls == stalled_) return;
  stalled_ = stalls;
  if (!stalls) return log().warn("{}: the backend responds again", options_.name);
  ++ring()->counters().stalls;
  log().warn("{}: the backend is connected but has not responded for {}: {} requests in flight",
             options_.name, format_duration(std::chrono::nanoseconds(oldest)), ring()->in_flight());
}

void frontend_queue::report_timeouts(std::uint64_t now) {
  const auto limit = static_cast<std::uint64_t>(options_.request_deadline.count());
  const auto late = ring()->check_deadlines(now, limit);
  if (late.requests == 0) return;
  log().error(
      "{}: {} requests timed out: no response to {} ring requests for more than {}; "
      "last event {} ago",
      options_.name, late.requests, late.unanswered, format_duration(options_.request_deadline),
      format_duration(std::chrono::nanoseconds(now - last_event_ns_)));
  schedule_turn();
}

void frontend_queue::report_failure() {
  if (std::exchange(failure_reported_, true)) return;
  if (events_.failed) events_.failed(*requests_.ring()->failure_reason());
}

void frontend_queue::notice_idle() noexcept {
  if (requests_.is_idle()) idle_.notify();
}

asio::awaitable<bool> frontend_queue::drain(std::chrono::nanoseconds limit) {
  const auto until = clock::now() + limit;
  const auto is_lost = [this] {
    return requests_.state() == queue_state::suspended || requests_.state() == queue_state::closed;
  };
  while (!requests_.is_idle() && !is_lost()) {
    if (clock::now() >= until) co_return false;
    co_await idle_.wait_until(until);
  }
  co_return true;
}

queue_statistics frontend_queue::statistics() const {
  auto out = requests_.statistics();
  out.stalled = stalled_ && requests_.ring() != nullptr;
  return out;
}

void frontend_queue::shape_changed() {
  shape_ = requests_.ring()->shape();
  if (events_.geometry_changed) events_.geometry_changed(shape_);
}

void frontend_queue::flush_ignored() {
  if (events_.flush_ignored) events_.flush_ignored();
}

void frontend_queue::flush_failed_after_loss() {
  log().error(
      "{}: failing one flush: the lost backend might not have written all completed writes to the "
      "disk; repeat these writes, or check the file system",
      options_.name);
}

void frontend_queue::marked_answered(blk::request& r) {
  requests_.answered(r);
  schedule_turn();
}

}  // namespace xenpv::blkfront
